// hedgehog train CONFIG --data TEXT --tokenizer MODEL: a language model from scratch.
#pragma once

#include "cli/command.h"
#include "hedgehog/evaluation/perplexity.h"
#include "hedgehog/training/finetuning.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace hedgehog::cli {

struct LanguageOptions {
  std::string tokenizer = "bytes";
  std::vector<std::filesystem::path> data, evaluation_data;
  FinetuningConfig training;
  PerplexityConfig perplexity;
};

/// Adds the flags of a language model's training.
void add_language_options(CLI::App& verb, LanguageOptions& options);

/// What the verb has in common for all that it trains.
struct LanguageJob {
  std::string model;  // a config.json
  std::filesystem::path output;
  AttentionConfig attention;
  std::vector<KeptSoftmax> keep_softmax;
  bool resume = false;
  double save_minutes = 5;
};

void train_language_model(const LanguageJob& job, LanguageOptions options, const CommonOptions& common);

}  // namespace hedgehog::cli

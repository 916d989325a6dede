// What a conversion cost and kept, measured: softmax, the converted model, its controls; as a table, as Markdown and as JSON.
#pragma once

#include "hedgehog/analysis/head_fidelity.h"
#include "hedgehog/analysis/verdicts.h"
#include "hedgehog/base/progress.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/evaluation/perplexity.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace hedgehog::cli {

/// Decoding after a context of `length` tokens.
struct ContextCost {
  std::int64_t length = 0;
  double tokens_per_second = 0;
  std::int64_t state_bytes = 0;
};

/// One line of the table.
struct ReportRow {
  std::string name;
  double perplexity = 0;
  std::optional<double> kl, top1_agreement;
  std::vector<ContextCost> costs;
};

struct ConversionReport {
  std::string model;
  nlohmann::json description;  // base, recipe, data, training
  std::vector<ReportRow> rows;
  std::int64_t tokens = 0;               // scored in each row
  std::optional<double> baseline_ratio;  // converted perplexity over that of the finetuned softmax model
  std::vector<HeadFidelity> heads;
  std::vector<Verdict> verdicts;
  double seconds = 0;
};

/// Decodes 32 tokens after each context that the model's positions allow, taken from `corpus`, repeated as needed.
std::vector<ContextCost> context_costs(const Decoder& model, const Tokenizer& tokenizer, const Corpus& corpus,
                                       const std::vector<std::int64_t>& lengths, Progress& progress);

/// Lines of the table, with a header.
std::string table(const ConversionReport& report);

/// perplexity, kl_to_softmax, ..., controls, rows: what hedgehog.json keeps as "metrics" and --json prints.
nlohmann::json metrics(const ConversionReport& report);

/// report.json and report.md in `directory`.
void write_report(const std::filesystem::path& directory, const ConversionReport& report);

}  // namespace hedgehog::cli

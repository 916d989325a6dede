// The flags of convert, distill and finetune, and what they share: the model, the text, the folder that the result goes to.
// All three take all flags, so that one recipe serves a conversion and its stages.
#pragma once

#include "cli/command.h"
#include "cli/maps_source.h"
#include "cli/summary_task.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/evaluation/perplexity.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/tokenizer/tokenizer.h"
#include "hedgehog/training/conversion.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace hedgehog::cli {

/// The defaults are those of recipes/hybrid.toml.
struct ConversionOptions {
  ConversionOptions();

  CommonOptions common;
  std::string model;
  std::filesystem::path output;

  std::vector<std::string> data;  // paths, or "self"; with a task its folder
  SummaryTask task;
  std::int64_t self_tokens = 131072, self_length = 512;
  std::vector<std::string> evaluation_data;
  std::int64_t evaluation_tokens = 8192;
  PerplexityConfig perplexity;
  std::vector<std::int64_t> contexts = {512, 4096};  // where speed and memory are measured

  std::string attention = "hybrid";
  bool attention_given = false, lora_rank_given = false, lora_alpha_given = false, lora_targets_given = false;
  AttentionConfig attention_config;
  std::vector<std::string> keep_softmax;  // layers, or "auto" or "auto:MEMORY" alone
  std::string memory;
  MapsSource maps;
  DistillationConfig distillation, distillation2;
  std::string distillation_schedule = "one-cycle", distillation2_schedule = "one-cycle";
  FinetuningConfig finetuning;
  std::string finetuning_kind = "lora", finetuning_schedule = "cosine";

  bool resume = false;
  std::int64_t save_every = 0;
  double save_minutes = 5;
  bool baseline = false;
  std::filesystem::path export_directory;
};

void add_conversion_options(CLI::App& verb, ConversionOptions& options);

/// The flags as the library takes them. Throws Error for a name that is not known.
ConversionConfig conversion_config(const ConversionOptions& options);

/// Everything that a verb has in hand before it trains. Stays where it is: stages keep references to the corpora.
struct ConversionJob {
  LoadedModel loaded;
  bool converted = false;  // it came with attention that is not softmax
  std::unique_ptr<Tokenizer> tokenizer;
  std::string base_sha256;
  Corpus training, evaluation;
  PerplexityConfig perplexity;  // fitted to the text that there is
};

/// Loads the model and the text: --data or the model's own, and --eval-data or the held-out end of it. Of a task its training
/// and validation parts.
ConversionJob open_job(const ConversionOptions& options, Progress& progress);

TrainingRun training_run(const ConversionOptions& options, const ConversionConfig& config, const ConversionJob& job,
                         const std::filesystem::path& directory);

/// Rows of the held-out text whose heads a report looks at.
inline constexpr std::int64_t kInspectedRows = 4;

/// Each head of `model` beside softmax on `rows` rows of `length` tokens of `text`, or of as many as it has. All of its tokens
/// count, and the rows have no room between documents.
std::vector<HeadFidelity> heads_on(const Decoder& model, Corpus text, std::int64_t rows, std::int64_t length,
                                   Progress& progress);

/// --maps-from, for a model whose attention is installed; heads are measured on the training text.
void take_maps(const ConversionOptions& options, ConversionJob& job, Progress& progress);

/// hedgehog.json's account of where the result comes from; metrics are added by the verb.
nlohmann::json describe(const ConversionOptions& options, const ConversionConfig& config, const ConversionJob& job,
                        const nlohmann::json& stages);

/// For a model that is converted: `config` gets the attention that it has. Throws Error if another kind was asked for.
void keep_attention(const ConversionOptions& options, ConversionConfig& config, const ConversionJob& job);

/// The softmax model that the job's model is or was made from. Shares its weights unless `full` training is to change them.
/// Throws Error if that is another model, which is not there any more.
Decoder softmax_model(const ConversionJob& job, const ConversionConfig& config);

/// Whether the model is an adapter on its base, not a checkpoint or an export.
bool is_adapter(const ConversionJob& job);

/// Whether the result has to carry all weights.
bool full_weights(const ConversionJob& job, const ConversionConfig& config);

}  // namespace hedgehog::cli

#include "cli/train_language.h"

#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_file.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/tokenizer/tokenizer.h"
#include "hedgehog/tokenizer/unicode.h"
#include "hedgehog/training/training_run.h"

#include <chrono>
#include <limits>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kHeldOut = 0.1;  // of the text, to measure on where there is no other

// A tokenizer whose tokens are the 256 bytes: byte-level BPE without merges, as GGUF metadata would have it.
TokenizerSource byte_tokenizer() {
  TokenizerSource source;
  source.tokenizer_config = nlohmann::json::object();
  source.gguf_model = "gpt2";
  source.gguf_pretokenizer = "gpt-2";
  for (int byte = 0; byte < 256; ++byte) {
    source.gguf_tokens.push_back(bytes_to_token_text(std::string(1, static_cast<char>(byte))));
  }
  source.gguf_token_types.assign(source.gguf_tokens.size(), 1);  // a normal token
  return source;
}

}  // namespace

void add_language_options(CLI::App& verb, LanguageOptions& options) {
  const std::string group = "Language model (without --task)";
  FinetuningConfig& train = options.training;
  train.kind = FinetuningKind::kFull;
  train.length = 256;
  verb.add_option("--tokenizer", options.tokenizer, "the model whose tokenizer is used, or bytes")
      ->capture_default_str()
      ->type_name("MODEL")
      ->group(group);
  verb.add_option("--eval-data", options.evaluation_data, "text to measure on; without it the last tenth of the data")
      ->type_name("FILE...")
      ->group(group);
  verb.add_option("--tokens", train.tokens, "to train on")->check(CLI::PositiveNumber)->group(group);
  verb.add_option("--eval-window", options.perplexity.window, "tokens of a window that is measured")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 24))
      ->capture_default_str()
      ->group(group);
  verb.add_option("--limit-tokens", options.perplexity.limit_tokens, "to measure on, 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
}

void train_language_model(const LanguageJob& job, LanguageOptions options, const CommonOptions& common) {
  const auto start = std::chrono::steady_clock::now();
  check(fs::path(job.model).extension() == ".json",
        "{}: a language model is trained from a config.json; 'hedgehog finetune' trains one that is there", job.model);
  check(options.training.tokens > 0, "--tokens: how many to train on?");
  check(!options.data.empty(), "--data: which text to train on?");
  const std::unique_ptr<Progress> progress = make_progress();
  const TokenizerSource source = options.tokenizer == "bytes" ? byte_tokenizer() : open_checkpoint(options.tokenizer).tokenizer;
  const auto tokenizer = make_tokenizer(source);
  nlohmann::json config = read_json_object(job.model, std::size_t{1} << 20);
  config["vocab_size"] = tokenizer->vocabulary_size();
  Decoder model(decoder_config(config), common.seed);
  if (job.attention.kind != AttentionKind::kSoftmax) model.set_attention(job.attention, job.keep_softmax);
  Corpus training = read_corpus(options.data, *tokenizer), evaluation;
  if (options.evaluation_data.empty()) {
    HeldOut parts = hold_out_end(training, kHeldOut, std::numeric_limits<std::int64_t>::max());
    training = std::move(parts.training);
    evaluation = std::move(parts.evaluation);
  } else {
    evaluation = read_corpus(options.evaluation_data, *tokenizer);
  }

  const at::ScalarType dtype = compute_dtype(common);
  const nlohmann::json recipe = {{"training", to_json(options.training)},
                                 {"attention", to_json(job.attention)},
                                 {"dtype", dtype_name(dtype)},
                                 {"seed", common.seed}};
  const TrainingRun run{
      job.output, {{"recipe", recipe}, {"config", config}, {"corpus", training.sha256}}, job.resume, 0, job.save_minutes};
  model.compute_dtype = dtype;
  const nlohmann::json reports =
      run_stages({[&] { return std::make_unique<FinetuningStage>(model, training, options.training, common.seed * 16 + 15); }},
                 run, *progress);
  model.compute_dtype = {};
  const Perplexity result = perplexity(model, evaluation, options.perplexity, *progress);

  LoadedModel trained{{{}, "safetensors", config, nullptr, source}, model, {{"recipe", recipe}}};  // of no checkpoint
  export_model(job.output, trained);
  write_tokenizer(source, job.output);
  finish_run(run);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!common.json) {
    fmt::print("perplexity {:.4f} over {} tokens; {} has the model\n", result.perplexity, result.tokens, job.output.string());
    return;
  }
  const nlohmann::json fields = {{"perplexity", result.perplexity},
                                 {"score", result.perplexity},
                                 {"tokens", result.tokens},
                                 {"recipe", recipe},
                                 {"training", reports},
                                 {"output", job.output.string()}};
  print_json("train", job.model, common, seconds, fields);
}

}  // namespace hedgehog::cli

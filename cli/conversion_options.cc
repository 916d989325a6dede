#include "cli/conversion_options.h"

#include "cli/kept_softmax.h"
#include "cli/model_data.h"
#include "hedgehog/analysis/context_memory.h"
#include "hedgehog/analysis/fidelity.h"
#include "hedgehog/attention/feature_map.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/sha256.h"
#include "hedgehog/inference/self_text.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMost = std::int64_t{1} << 40;
constexpr std::int64_t kMatchedRows = 4, kMatchedLength = 256;  // of the training text, on which heads are matched

CLI::Option* add_count(CLI::App& verb, const std::string& flag, std::int64_t& value, std::int64_t least,
                       const std::string& help, const std::string& group, std::int64_t most = kMost) {
  const CLI::Validator range = CLI::Range(least, most).description("");
  return verb.add_option(flag, value, help)->check(range)->type_name("N")->capture_default_str()->group(group);
}

CLI::Option* add_factor(CLI::App& verb, const std::string& flag, double& value, const std::string& help,
                        const std::string& group) {
  const CLI::Validator range = CLI::Range(0.0, 1e6).description("");
  return verb.add_option(flag, value, help)->check(range)->type_name("X")->capture_default_str()->group(group);
}

void add_schedule(CLI::App& verb, const std::string& flag, std::string& value, const std::string& group) {
  verb.add_option(flag, value, "of the learning rate")
      ->check(CLI::IsMember({"constant", "cosine", "one-cycle"}))
      ->capture_default_str()
      ->group(group);
}

void add_attention_options(CLI::App& verb, ConversionOptions& options) {
  const std::string group = "Attention";
  AttentionConfig& config = options.attention_config;
  verb.add_option("--attention", options.attention, "softmax, linear or hybrid")
      ->check(CLI::IsMember({"softmax", "linear", "hybrid"}))
      ->capture_default_str()
      ->each([&options](const std::string&) { options.attention_given = true; })
      ->group(group);
  verb.add_option("--map", config.feature_map, fmt::format("feature map: {}", fmt::join(feature_map_names(), ", ")))
      ->check(CLI::Validator(unknown_map, ""))
      ->capture_default_str()
      ->group(group);
  add_count(verb, "--map-dim", config.feature_dim, 0, "rows of the map's matrix, 0 for the head's dimension", group,
            kMostFeatureDim);
  add_count(verb, "--window", config.window, 0, "last keys that a hybrid attends to exactly", group, kMostExactKeys);
  add_count(verb, "--sinks", config.sinks, 0, "first keys that a hybrid attends to exactly", group, kMostExactKeys);
  verb.add_flag("--gate,!--no-gate", config.gate, "scalar decay gate on the state")->group(group);
  verb.add_option(
          "--keep-softmax", options.keep_softmax,
          "layers that keep softmax, such as 1,2, or key/value heads of them, such as 7.0; or auto:64MiB@32k, of convert: "
          "those where it lowers the loss most, as many as that memory holds after so many tokens")
      ->delimiter(',')
      ->type_name("N,N.HEAD,...")
      ->group(group);
  verb.add_option("--memory", options.memory, "with --keep-softmax auto: the memory")->type_name("BYTES@TOKENS")->group(group);
  add_maps_source(verb, options.maps, group);
}

void add_distillation_options(CLI::App& verb, const std::string& prefix, DistillationConfig& config, std::string& schedule,
                              const std::string& group) {
  add_count(verb, prefix + "-tokens", config.tokens, 0, "to distil on, 0: leave this phase out", group);
  add_count(verb, prefix + "-length", config.length, 2, "tokens of a row", group);
  add_count(verb, prefix + "-batch", config.batch, 1, "rows of a batch", group);
  add_count(verb, prefix + "-updates", config.updates, 1, "steps a batch, each on its share of the queries", group);
  add_factor(verb, prefix + "-lr", config.learning_rate, "learning rate", group);
  add_factor(verb, prefix + "-weights", config.weights_factor, "factor of the weights' cross-entropy", group);
  add_factor(verb, prefix + "-outputs", config.output_factor, "factor of the outputs' error", group);
  add_factor(verb, prefix + "-weight-decay", config.weight_decay, "of the maps", group);
  add_count(verb, prefix + "-warmup", config.warmup, 0, "steps, not for one-cycle", group);
  add_schedule(verb, prefix + "-schedule", schedule, group);
}

void add_finetuning_options(CLI::App& verb, ConversionOptions& options) {
  const std::string group = "Finetuning";
  FinetuningConfig& config = options.finetuning;
  verb.add_option("--finetune", options.finetuning_kind, "lora, full or none")
      ->check(CLI::IsMember({"lora", "full", "none"}))
      ->capture_default_str()
      ->group(group);
  add_count(verb, "--finetune-tokens", config.tokens, 0, "to finetune on", group);
  add_count(verb, "--finetune-length", config.length, 2, "tokens of a row", group);
  add_count(verb, "--finetune-batch", config.batch, 1, "rows of a batch", group);
  add_count(verb, "--accumulate", config.accumulate, 1, "batches a step", group);
  add_factor(verb, "--finetune-lr", config.learning_rate, "learning rate of LoRA or of all weights", group);
  add_factor(verb, "--map-lr", config.map_learning_rate, "learning rate of the attention's own weights, 0: frozen", group);
  add_factor(verb, "--weight-decay", config.weight_decay, "of matrices", group);
  add_factor(verb, "--clip", config.clip, "the gradient's norm, 0: no clipping", group);
  add_count(verb, "--warmup", config.warmup, 0, "steps", group);
  add_schedule(verb, "--finetune-schedule", options.finetuning_schedule, group);
  add_count(verb, "--lora-rank", config.lora_rank, 1, "rank of the low-rank addition", group, kMostLoraRank)
      ->each([&options](const std::string&) { options.lora_rank_given = true; });
  add_factor(verb, "--lora-alpha", config.lora_alpha, "its scale, divided by the rank", group)
      ->each([&options](const std::string&) { options.lora_alpha_given = true; });
  verb.add_option("--lora-targets", config.lora_targets, "among q,k,v,o,gate,up,down; a model without gates leaves that out")
      ->delimiter(',')
      ->check(CLI::IsMember({"q", "k", "v", "o", "gate", "up", "down"}))
      ->each([&options](const std::string&) { options.lora_targets_given = true; })
      ->capture_default_str()
      ->group(group);
  verb.add_option("--teacher-logits", config.teacher_factor, "share of the teacher's logits in the loss")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  add_factor(verb, "--match-hidden", config.hidden_factor, "factor of the hidden states' error against the softmax model",
             group);
  verb.add_flag("--gradient-checkpointing,!--no-gradient-checkpointing", config.gradient_checkpointing,
                "less memory for more time")
      ->group(group);
}

void add_data_options(CLI::App& verb, ConversionOptions& options) {
  const std::string group = "Text";
  verb.add_option("--data", options.data, "text files, JSON lines or folders; 'self': text that the model writes")
      ->required()
      ->type_name("FILE...")
      ->group(group);
  add_count(verb, "--self-tokens", options.self_tokens, 64, "tokens that the model writes", group);
  add_count(verb, "--self-length", options.self_length, 2, "most tokens of one text that it writes", group);
  verb.add_option("--eval-data", options.evaluation_data, "text to measure on; the last 5 % of --data by default")
      ->type_name("FILE...")
      ->group(group);
  add_count(verb, "--eval-tokens", options.evaluation_tokens, 0, "most tokens to measure on, 0: all", group);
  add_count(verb, "--eval-window", options.perplexity.window, 2, "tokens of a window; all but its first are scored", group);
  add_count(verb, "--eval-batch", options.perplexity.batch, 1, "windows at a time", group);
  verb.add_option("--contexts", options.contexts, "lengths at which speed and memory are measured")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, kMost).description(""))
      ->type_name("N,...")
      ->capture_default_str()
      ->group(group);
}

Corpus read_text(const ConversionOptions& options, const LoadedModel& loaded, const Tokenizer& tokenizer,
                 const std::vector<std::string>& paths, std::int64_t limit) {
  return read_corpus({paths.begin(), paths.end()}, tokenizer, limit, loaded.checkpoint.tokenizer.chat_template);
}

/// Of a text that the model can read: as many as it has learned positions for.
std::int64_t most_tokens(const Decoder& model) {
  return model.config().learned_positions ? model.config().max_positions : kMost;
}

Corpus training_text(const ConversionOptions& options, const ConversionJob& job, Progress& progress) {
  if (options.data.front() != "self") return read_text(options, job.loaded, *job.tokenizer, options.data, 0);
  SelfTextConfig config;
  config.tokens = options.self_tokens;
  config.length = options.self_length;
  config.seed = options.common.seed;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const fs::path folder = cache != nullptr && *cache != '\0' ? fs::path(cache) / "hedgehog" : options.output / "self_text";
  std::string weights = job.base_sha256;
  if (has_full_weights(job.loaded)) weights += sha256_of_file(fs::path(options.model) / "adapter.safetensors");
  return self_text(job.loaded.model, *job.tokenizer, weights, config, folder, progress);
}

/// The task's texts: examples to train on, and others to measure on.
void open_task(const ConversionOptions& options, ConversionJob& job) {
  check(options.data.size() == 1 && options.data.front() != "self", "--task {}: expected one --data, the folder with its files",
        options.task.name);
  check(options.evaluation_data.empty(), "--task {}: is measured on its validation part; leave out --eval-data",
        options.task.name);
  const auto read = [&](const char* part, std::int64_t count, std::int64_t limit) {
    return read_summary_task(options.task, options.data.front(), part, *job.tokenizer, count, limit).corpus;
  };
  job.training = read("train", options.task.examples, 0);
  job.evaluation = read("validation", 0, options.evaluation_tokens);
  job.perplexity.window = options.task.lengths().example;
}

void open_text(const ConversionOptions& options, ConversionJob& job, Progress& progress) {
  Corpus text = training_text(options, job, progress);
  if (options.evaluation_data.empty()) {
    HeldOut parts = hold_out_end(text, 0.05, options.evaluation_tokens > 0 ? options.evaluation_tokens : kMost);
    job.training = std::move(parts.training);
    job.evaluation = std::move(parts.evaluation);
  } else {
    job.training = std::move(text);
    job.evaluation = read_text(options, job.loaded, *job.tokenizer, options.evaluation_data, options.evaluation_tokens);
  }
  const std::int64_t there = std::ssize(job.evaluation.tokens);
  check(there >= 2, "{}: too short to measure on", job.evaluation.description);
  job.perplexity.window = std::min({job.perplexity.window, there, most_tokens(job.loaded.model)});
}

void keep_softmax(const ConversionOptions& options, ConversionConfig& config) {
  const std::string automatic = "auto";
  if (options.keep_softmax.size() == 1 && options.keep_softmax[0].starts_with(automatic)) {
    const std::string rest = options.keep_softmax[0].substr(automatic.size());
    config.keep_budget = rest.starts_with(':') ? rest.substr(1) : rest + options.memory;
    memory_budget(config.keep_budget);
    return;
  }
  if (!options.memory.empty()) throw CLI::ValidationError("--memory", "goes with --keep-softmax auto");
  config.keep_softmax = kept_softmax_list(options.keep_softmax);
}

}  // namespace

ConversionOptions::ConversionOptions() {
  attention_config.window = 64;
  attention_config.sinks = 4;
  distillation.tokens = 65536;
  distillation.length = 512;
  distillation.batch = 1;
  distillation.updates = 8;
  distillation.learning_rate = 1.5e-2;
  finetuning.tokens = 196608;
  finetuning.batch = 1;
  finetuning.learning_rate = 3e-3;
  finetuning.map_learning_rate = 1e-3;
  finetuning.warmup = 10;
}

void add_conversion_options(CLI::App& verb, ConversionOptions& options) {
  verb.add_option("model", options.model, "a Hugging Face directory or a GGUF file")->required()->type_name("MODEL");
  verb.add_option("-o,--output", options.output, "the folder for the result")->required()->type_name("DIR");
  verb.add_flag("--resume", options.resume, "go on where a stopped run in DIR was, if there is one");
  add_count(verb, "--save-every", options.save_every, 0, "steps between saved states, 0: by time only", "Options");
  add_factor(verb, "--save-minutes", options.save_minutes, "minutes between saved states", "Options");
  add_data_options(verb, options);
  add_summary_task(verb, options.task, "to train on, the first ones, 0: all");
  add_attention_options(verb, options);
  add_distillation_options(verb, "--distill", options.distillation, options.distillation_schedule, "Distillation");
  add_distillation_options(verb, "--distill2", options.distillation2, options.distillation2_schedule,
                           "Distillation, second phase");
  add_finetuning_options(verb, options);
  add_common_options(verb, options.common);
}

ConversionConfig conversion_config(const ConversionOptions& options) {
  const bool self = std::find(options.data.begin(), options.data.end(), "self") != options.data.end();
  if (self && options.data.size() > 1) throw CLI::ValidationError("--data", "'self' cannot be mixed with files");
  ConversionConfig config;
  config.attention = options.attention_config;
  config.attention.kind = attention_kind(options.attention);
  if (config.attention.kind != AttentionKind::kHybrid) config.attention.window = config.attention.sinks = 0;
  if (config.attention.kind == AttentionKind::kSoftmax) config.attention = {};
  keep_softmax(options, config);
  config.distillation = {options.distillation, options.distillation2};
  config.distillation[0].schedule = schedule(options.distillation_schedule);
  config.distillation[1].schedule = schedule(options.distillation2_schedule);
  config.finetuning = options.finetuning;
  config.finetuning.kind = finetuning_kind(options.finetuning_kind);
  config.finetuning.schedule = schedule(options.finetuning_schedule);
  config.seed = options.common.seed;
  return config;
}

ConversionJob open_job(const ConversionOptions& options, Progress& progress) {
  std::error_code problem;
  // An adapter's files in the folder of a model would make another model of it.
  check(!fs::exists(options.output / "config.json", problem) && !fs::equivalent(options.output, options.model, problem),
        "{}: a model is there, and the result cannot go where one is; choose another -o", options.output.string());
  ConversionJob job{load_model(options.model, compute_dtype(options.common), LoraForm::kSeparate),
                    false,
                    nullptr,
                    "",
                    {},
                    {},
                    options.perplexity};
  job.converted = has_linear_part(job.loaded.model);
  job.tokenizer = make_tokenizer(job.loaded.checkpoint.tokenizer);
  job.base_sha256 = checkpoint_sha256(job.loaded.checkpoint.path);
  options.task.given() ? open_task(options, job) : open_text(options, job, progress);
  return job;
}

TrainingRun training_run(const ConversionOptions& options, const ConversionConfig& config, const ConversionJob& job,
                         const fs::path& directory) {
  TrainingRun run;
  run.directory = directory;
  run.identity = run_identity(config, job.training, job.base_sha256, job.loaded.model);
  const fs::path adapter = fs::path(options.model) / "adapter.safetensors";
  if (fs::exists(adapter)) run.identity["adapter"] = sha256_of_file(adapter);
  if (options.maps.given()) run.identity["maps_from"] = to_json(options.maps);
  run.resume = options.resume;
  run.save_every = options.save_every;
  run.save_minutes = options.save_minutes;
  return run;
}

std::vector<HeadFidelity> heads_on(const Decoder& model, Corpus text, std::int64_t rows, std::int64_t length,
                                   Progress& progress) {
  text.scored.clear();
  return fidelity(model, text, rows, std::min({length, std::ssize(text.tokens), most_tokens(model)}), progress);
}

void take_maps(const ConversionOptions& options, ConversionJob& job, Progress& progress) {
  take_maps(options.maps, attentions_of(job.loaded.model),
            [&] { return heads_on(job.loaded.model, job.training, kMatchedRows, kMatchedLength, progress); });
}

nlohmann::json describe(const ConversionOptions& options, const ConversionConfig& config, const ConversionJob& job,
                        const nlohmann::json& stages) {
  nlohmann::json recipe = to_json(config);
  if (options.maps.given()) recipe["maps_from"] = to_json(options.maps);
  return {{"base", {{"path", job.loaded.checkpoint.path.string()}, {"sha256", job.base_sha256}}},
          {"recipe", recipe},
          {"data",
           {{"training", {{"description", job.training.description}, {"sha256", job.training.sha256}}},
            {"evaluation", {{"description", job.evaluation.description}, {"sha256", job.evaluation.sha256}}}}},
          {"training", stages}};
}

void keep_attention(const ConversionOptions& options, ConversionConfig& config, const ConversionJob& job) {
  const AttentionKind wanted = config.attention.kind;
  config.keep_softmax.clear();
  const std::vector<DecoderLayer>& layers = job.loaded.model.layers();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const AttentionConfig& installed = layers[i].attention.config();
    const auto layer = static_cast<std::int64_t>(i);
    if (installed.kind == AttentionKind::kSoftmax) {
      config.keep_softmax.push_back({layer});
    } else {
      for (const std::int64_t head : installed.softmax_heads) config.keep_softmax.push_back({layer, head});
      config.attention = installed;
      config.attention.softmax_heads.clear();
    }
  }
  check(!options.attention_given || wanted == config.attention.kind,
        "{}: is converted, its attention is {}; --attention {} wants the model that it came from", options.model,
        to_string(config.attention.kind), to_string(wanted));
}

bool is_adapter(const ConversionJob& job) {
  return job.loaded.hedgehog.is_object() && !is_export(job.loaded);
}

bool full_weights(const ConversionJob& job, const ConversionConfig& config) {
  return has_full_weights(job.loaded) || (config.finetuning.kind == FinetuningKind::kFull && config.finetuning.tokens > 0);
}

Decoder softmax_model(const ConversionJob& job, const ConversionConfig& config) {
  if (job.converted && is_export(job.loaded)) return base_model(job.loaded, job.loaded.model.dtype());
  if (full_weights(job, config)) return Decoder(job.loaded.checkpoint, job.loaded.model.dtype());
  return job.loaded.model.teacher();
}

}  // namespace hedgehog::cli

// hedgehog eval MODEL: perplexity, divergence from softmax, and the controls; with a task also the summaries that it writes; of
// a classifier the task's score.
#include "cli/command.h"
#include "cli/kept_softmax.h"
#include "cli/model_data.h"
#include "cli/summary_task.h"
#include "cli/task_model.h"
#include "hedgehog/analysis/altered_maps.h"
#include "hedgehog/analysis/fidelity.h"
#include "hedgehog/analysis/kept_layers.h"
#include "hedgehog/base/error.h"
#include "hedgehog/evaluation/needle.h"
#include "hedgehog/evaluation/perplexity.h"
#include "hedgehog/evaluation/summary_score.h"

#include <chrono>

namespace hedgehog::cli {
namespace {

constexpr std::size_t kShown = 5;                                   // summaries that --json shows
constexpr std::int64_t kExampleBatch = 32, kFidelityExamples = 64;  // of a classifier's task
constexpr std::int64_t kFidelityLength = 256;                       // of a text's windows

struct EvalOptions {
  CommonOptions common;
  std::string model, teacher;
  std::vector<std::filesystem::path> data;
  SummaryTask task;
  PerplexityConfig perplexity;
  std::vector<KeptSoftmax> keep_softmax;
  std::string altered;                            // maps, see analysis/altered_maps.h; empty: as they are
  std::int64_t fidelity_windows = 0;              // of a language model's data
  std::optional<std::int64_t> fidelity_examples;  // of a classifier's task
  NeedleConfig needle;
  std::string state;  // its dtype, token by token; empty: in one pass
  bool controls = false, no_teacher = false;
};

/// The softmax model that a conversion came from: --teacher, or the base that the adapter names. None for a softmax model.
std::optional<Decoder> load_teacher(const EvalOptions& options, const LoadedModel& loaded, Progress& progress) {
  const at::ScalarType dtype = compute_dtype(options.common);
  if (options.no_teacher) return std::nullopt;
  if (!options.teacher.empty()) return load_model(options.teacher, dtype).model;
  if (loaded.hedgehog.is_null()) return std::nullopt;
  try {
    return base_model(loaded, dtype);
  } catch (const Error& error) {
    progress.message(fmt::format("no comparison with softmax: {}; --teacher MODEL names another", error.what()));
    return std::nullopt;
  }
}

void print_with_interval(const char* name, double value, const std::optional<double>& half_interval) {
  fmt::print("{:<36}{:>12.4f}", name, value);
  if (half_interval) fmt::print(" ± {:.4f}", *half_interval);
  fmt::print("\n");
}

void print_table(const Perplexity& result, const std::optional<Controls>& controls) {
  print_with_interval("perplexity", result.perplexity, result.half_interval);
  fmt::print("{:<36}{:>12}\n", "tokens scored", result.tokens);
  if (result.state_bytes) fmt::print("{:<36}{:>12}\n", "state of a text at its end, bytes", *result.state_bytes);
  if (result.kl_to_softmax) {
    fmt::print("{:<36}{:>12.4f}\n", "perplexity of softmax", *result.softmax_perplexity);
    print_with_interval("  ratio", result.perplexity / *result.softmax_perplexity, result.ratio_half_interval);
    fmt::print("{:<36}{:>12.4f}\n", "KL(softmax || model), nats a token", *result.kl_to_softmax);
    fmt::print("{:<36}{:>11.2f}%\n", "same first choice as softmax", *result.top1_agreement * 100);
  }
  if (controls) {
    fmt::print("{:<36}{:>12.4f}\n", "perplexity, linear part removed", controls->linear_removed);
    fmt::print("{:<36}{:>12.4f}\n", "perplexity, window removed", controls->window_removed);
    fmt::print("{:<36}{:>12.4f}\n", "perplexity, no attention", controls->no_attention);
  }
}

void print_fidelity(const HeadFidelity& heads) {
  fmt::print("{:<36}{:>12.4f}\n", "heads: KL(softmax || linear), nats", heads.kl);
  fmt::print("{:<36}{:>12.4f}\n", "heads: entropy of softmax, nats", heads.entropy_softmax);
  fmt::print("{:<36}{:>12.4f}\n", "heads: entropy, nats", heads.entropy_linear);
  fmt::print("{:<36}{:>12.4f}\n", "heads: monotonicity", heads.monotonicity);
}

void print_needle(const std::vector<NeedleScore>& scores) {
  for (const NeedleScore& score : scores) {
    fmt::print("{:<36}{:>11.1f}%\n", fmt::format("pass key found after {} tokens", score.length), score.found.mean * 100);
    fmt::print("{:<36}{:>12.4f}\n", "  perplexity of the key", score.answer_perplexity);
  }
}

nlohmann::json to_json(const std::vector<NeedleScore>& scores) {
  nlohmann::json lengths = nlohmann::json::object();
  for (const NeedleScore& score : scores) {
    nlohmann::json& one = lengths[std::to_string(score.length)];
    one = {{"found", score.found.mean}, {"perplexity", score.answer_perplexity}, {"samples", score.found.count}};
    if (score.found.half_width) one["half_interval"] = *score.found.half_width;
  }
  return lengths;
}

void print_summaries(const SummaryScore& score) {
  print_with_interval("ROUGE-1", score.rouge1.mean, score.rouge1.half_width);
  print_with_interval("ROUGE-2", score.rouge2.mean, score.rouge2.half_width);
  print_with_interval("ROUGE-L", score.rouge_l.mean, score.rouge_l.half_width);
  fmt::print("{:<36}{:>12.1f}\n", "tokens a summary", score.tokens);
  fmt::print("{:<36}{:>11.2f}%\n", "ended by the model", score.ended * 100);
}

nlohmann::json to_json(const SummaryScore& score, const std::vector<SummaryExample>& examples) {
  nlohmann::json json = {{"examples", score.rouge1.count},
                         {"ended", score.ended},
                         {"tokens_a_summary", score.tokens},
                         {"prompt_tokens_per_second", score.prompt_tokens_per_second},
                         {"tokens_per_second", score.tokens_per_second}};
  const auto put = [&](const char* name, const MeanInterval& value) {
    json[name] = value.mean;
    if (value.half_width) json["half_interval"][name] = *value.half_width;
  };
  put("rouge1", score.rouge1);
  put("rouge2", score.rouge2);
  put("rougeL", score.rouge_l);
  for (std::size_t i = 0; i < examples.size() && i < kShown; ++i) {
    json["first"].push_back({{"summary", examples[i].text}, {"written", score.written[i]}});
  }
  return json;
}

SummaryExamples task_examples(const EvalOptions& options, const Tokenizer& tokenizer) {
  check(options.data.size() == 1, "--task {}: expected one --data, the folder with its files", options.task.name);
  return read_summary_task(options.task, options.data.front(), "test", tokenizer, options.task.examples, 0);
}

/// --alter-maps, with the seed of --seed and another one for each layer.
void alter(const EvalOptions& options, const std::vector<Attention*>& attentions) {
  if (options.altered.empty()) return;
  const MapAlteration alteration = map_alteration(options.altered);
  for (std::size_t layer = 0; layer < attentions.size(); ++layer) {
    alter_maps(*attentions[layer], alteration, options.common.seed * attentions.size() + layer);
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A classifier on its task, and a converted one's heads beside softmax's.
void eval_classifier(const EvalOptions& options, const TaskConfig& config, std::chrono::steady_clock::time_point start) {
  check(!options.controls && options.teacher.empty() && options.keep_softmax.empty() && options.fidelity_windows == 0 &&
            options.state.empty() && options.needle.lengths.empty(),
        "--controls, --teacher, --keep-softmax, --fidelity-windows, --state, --needle: of language models only");
  const std::unique_ptr<Progress> progress = make_progress();
  TaskModel job = open_task_model(options.model, config, options.common.seed, /*new_classifier=*/false);
  alter(options, job.model->attentions());
  const nlohmann::json fields =
      score_task(job, kExampleBatch, options.fidelity_examples.value_or(kFidelityExamples), *progress).fields;
  if (options.common.json) return print_json("eval", options.model, options.common, seconds_since(start), fields);
  print_task_score(fields);
}

void run_eval(EvalOptions options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  if (!options.task.given()) {
    TaskConfig asked;
    asked.name = options.task.name;
    asked.length = options.task.length;
    asked.evaluation = options.task.examples;
    if (options.data.size() == 1) asked.data = options.data.front();
    if (const auto task = measured_task(options.model, asked)) return eval_classifier(options, *task, start);
  }
  check(!options.fidelity_examples, "--fidelity-examples: of classifiers only; of language models --fidelity-windows");
  if (!options.state.empty()) options.perplexity.state = state_dtype(options.state);
  check(!options.data.empty(), "--data: which text should {} be measured on?", options.model);
  LoadedModel loaded = load_model(options.model, compute_dtype(options.common));
  for (const KeptSoftmax& kept : options.keep_softmax) change_layer(loaded.model, kept, 0);
  alter(options, attentions_of(loaded.model));
  check(!options.controls || has_linear_part(loaded.model),
        "--controls: {} has softmax attention only; there is no part to leave out", options.model);
  SummaryExamples task;
  std::unique_ptr<Tokenizer> tokenizer;  // for task and needle; measured_corpus() makes its own
  if (options.task.given() || !options.needle.lengths.empty()) tokenizer = make_tokenizer(loaded.checkpoint.tokenizer);
  if (options.task.given()) {
    task = task_examples(options, *tokenizer);
    options.perplexity.window = options.task.lengths().example;
  }
  // A pass key may stand in a text that is longer than what perplexity is measured on.
  const std::int64_t read = options.needle.lengths.empty() ? options.perplexity.limit_tokens : 0;
  const Corpus corpus = options.task.given() ? task.corpus : measured_corpus(loaded, options.data, read);
  const std::unique_ptr<Progress> progress = make_progress();
  const std::optional<Decoder> teacher = load_teacher(options, loaded, *progress);

  const Perplexity result = perplexity(loaded.model, corpus, options.perplexity, *progress, teacher ? &*teacher : nullptr);
  std::optional<Controls> removed;
  if (options.controls) removed = controls(loaded.model, corpus, options.perplexity, *progress);
  std::optional<SummaryScore> summaries;
  if (options.task.given()) {
    summaries = summary_score(loaded.model, *tokenizer, task.examples, options.task.lengths().summary, *progress);
  }
  std::vector<NeedleScore> needle;
  if (!options.needle.lengths.empty()) {
    options.needle.seed = options.common.seed;
    needle = needle_scores(loaded.model, *tokenizer, corpus, options.needle, *progress);
  }
  std::optional<HeadFidelity> heads;
  if (options.fidelity_windows > 0) {
    heads = mean_over_heads(fidelity(loaded.model, corpus, options.fidelity_windows, kFidelityLength, *progress));
  }
  if (!options.common.json) {
    print_table(result, removed);
    if (heads) print_fidelity(*heads);
    print_needle(needle);
    if (summaries) print_summaries(*summaries);
    return;
  }

  nlohmann::json fields = {{"perplexity", result.perplexity},
                           {"tokens", result.tokens},
                           {"window", options.perplexity.window},
                           {"data", corpus.description}};
  if (teacher) {
    fields["softmax_perplexity"] = *result.softmax_perplexity;
    fields["kl_to_softmax"] = *result.kl_to_softmax;
    fields["top1_agreement"] = *result.top1_agreement;
  }
  if (result.state_bytes) fields["state_bytes"] = *result.state_bytes;
  if (removed) {
    fields["controls"] = {{"linear_removed", removed->linear_removed},
                          {"window_removed", removed->window_removed},
                          {"no_attention", removed->no_attention}};
  }
  if (!needle.empty()) fields["needle"] = to_json(needle);
  if (heads) fields["fidelity"] = to_json(*heads);
  if (result.half_interval) fields["half_interval"]["perplexity"] = *result.half_interval;
  if (result.ratio_half_interval) fields["half_interval"]["ratio"] = *result.ratio_half_interval;
  if (summaries) fields.update(to_json(*summaries, task.examples), true);
  print_json("eval", options.model, options.common, seconds_since(start), fields);
}

}  // namespace

void add_eval(CLI::App& program) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* verb = program.add_subcommand("eval", "Measure perplexity, and what a conversion lost");
  verb->add_option("model", options->model, "a checkpoint, an adapter, an exported directory, or a classifier")
      ->required()
      ->type_name("MODEL");
  verb->add_option("--data", options->data, "text files, JSON lines or folders; with a task its folder")->type_name("FILE...");
  add_summary_task(*verb, options->task, "to measure on, the test part's first ones, 0: all", task_names());
  verb->add_option("--eval-window", options->perplexity.window, "tokens of a window; all but its first are scored")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 24))
      ->capture_default_str();
  verb->add_option("--limit-tokens", options->perplexity.limit_tokens, "of the data, 0 for all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--batch", options->perplexity.batch, "windows at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_kept_softmax(*verb, options->keep_softmax,
                   "layers, or key/value heads of them, that are put back to softmax for this, such as 1,2.0");
  verb->add_option("--alter-maps", options->altered,
                   "make the maps worse for this: temperature=X, permuted=SHARE, noise=X, joined by commas")
      ->type_name("NAME=X,...");
  verb->add_option("--fidelity-windows", options->fidelity_windows,
                   "also compare each head with softmax, on so many windows of 256 tokens")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option(
          "--fidelity-examples", options->fidelity_examples,
          fmt::format("of a classifier, that is done anyway: on so many of its task's examples ({})", kFidelityExamples))
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--needle", options->needle.lengths,
                   "also ask for a pass key that stands somewhere in so many tokens of the data")
      ->check(CLI::PositiveNumber)
      ->delimiter(',')
      ->type_name("N,...");
  verb->add_option("--needle-samples", options->needle.samples, "prompts of each length, the key at another depth in each")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--state", options->state,
                   "read the text token by token, as writing does, the linear states kept in fp32, bf16 or int8")
      ->check(CLI::IsMember(state_dtypes()))
      ->type_name("DTYPE");
  verb->add_flag("--controls", options->controls, "also without the linear part, without the window, without attention");
  CLI::Option* none = verb->add_flag("--no-teacher", options->no_teacher, "don't compare with the softmax model");
  verb->add_option("--teacher", options->teacher, "the softmax model to compare with; the model's base by default")
      ->type_name("MODEL")
      ->excludes(none);
  add_common_options(*verb, options->common);
  verb->callback([options] { run_eval(*options); });
}

}  // namespace hedgehog::cli

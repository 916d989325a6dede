// hedgehog eval MODEL: perplexity, divergence from softmax, and the controls.
#include "cli/command.h"
#include "cli/model_data.h"
#include "hedgehog/base/error.h"
#include "hedgehog/evaluation/perplexity.h"

#include <chrono>

namespace hedgehog::cli {
namespace {

struct EvalOptions {
  CommonOptions common;
  std::string model, teacher;
  std::vector<std::filesystem::path> data;
  PerplexityConfig perplexity;
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

void print_table(const Perplexity& result, const std::optional<Controls>& controls) {
  fmt::print("{:<36}{:>12.4f}\n", "perplexity", result.perplexity);
  fmt::print("{:<36}{:>12}\n", "tokens scored", result.tokens);
  if (result.kl_to_softmax) {
    fmt::print("{:<36}{:>12.4f}\n", "perplexity of softmax", *result.softmax_perplexity);
    fmt::print("{:<36}{:>12.4f}\n", "  ratio", result.perplexity / *result.softmax_perplexity);
    fmt::print("{:<36}{:>12.4f}\n", "KL(softmax || model), nats a token", *result.kl_to_softmax);
    fmt::print("{:<36}{:>11.2f}%\n", "same first choice as softmax", *result.top1_agreement * 100);
  }
  if (controls) {
    fmt::print("{:<36}{:>12.4f}\n", "perplexity, linear part removed", controls->linear_removed);
    fmt::print("{:<36}{:>12.4f}\n", "perplexity, window removed", controls->window_removed);
    fmt::print("{:<36}{:>12.4f}\n", "perplexity, no attention", controls->no_attention);
  }
}

void run_eval(const EvalOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  LoadedModel loaded = load_model(options.model, compute_dtype(options.common));
  check(!options.controls || has_linear_part(loaded.model),
        "--controls: {} has softmax attention only; there is no part to leave out", options.model);
  const Corpus corpus = measured_corpus(loaded, options.data, options.perplexity.limit_tokens);
  const std::unique_ptr<Progress> progress = make_progress();
  const std::optional<Decoder> teacher = load_teacher(options, loaded, *progress);

  const Perplexity result = perplexity(loaded.model, corpus, options.perplexity, *progress, teacher ? &*teacher : nullptr);
  std::optional<Controls> removed;
  if (options.controls) removed = controls(loaded.model, corpus, options.perplexity, *progress);
  if (!options.common.json) return print_table(result, removed);

  nlohmann::json fields = {{"perplexity", result.perplexity},
                           {"tokens", result.tokens},
                           {"window", options.perplexity.window},
                           {"data", corpus.description}};
  if (teacher) {
    fields["softmax_perplexity"] = *result.softmax_perplexity;
    fields["kl_to_softmax"] = *result.kl_to_softmax;
    fields["top1_agreement"] = *result.top1_agreement;
  }
  if (removed) {
    fields["controls"] = {{"linear_removed", removed->linear_removed},
                          {"window_removed", removed->window_removed},
                          {"no_attention", removed->no_attention}};
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  print_json("eval", options.model, options.common, seconds, fields);
}

}  // namespace

void add_eval(CLI::App& program) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* verb = program.add_subcommand("eval", "Measure perplexity, and what a conversion lost");
  verb->add_option("model", options->model, "a checkpoint, an adapter or an exported directory")
      ->required()
      ->type_name("MODEL");
  verb->add_option("--data", options->data, "text files, JSON lines or folders")->required()->type_name("FILE...");
  verb->add_option("--eval-window", options->perplexity.window, "tokens of a window; all but its first are scored")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 24))
      ->capture_default_str();
  verb->add_option("--limit-tokens", options->perplexity.limit_tokens, "of the data, 0 for all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--batch", options->perplexity.batch, "windows at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_flag("--controls", options->controls, "also without the linear part, without the window, without attention");
  CLI::Option* none = verb->add_flag("--no-teacher", options->no_teacher, "don't compare with the softmax model");
  verb->add_option("--teacher", options->teacher, "the softmax model to compare with; the model's base by default")
      ->type_name("MODEL")
      ->excludes(none);
  add_common_options(*verb, options->common);
  verb->callback([options] { run_eval(*options); });
}

}  // namespace hedgehog::cli

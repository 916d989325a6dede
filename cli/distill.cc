// hedgehog distill MODEL --data TEXT -o DIR: the distillation of a conversion alone.
#include "cli/conversion_options.h"
#include "cli/fidelity_report.h"
#include "cli/model_data.h"
#include "hedgehog/analysis/verdicts.h"
#include "hedgehog/base/error.h"

#include <algorithm>
#include <chrono>

namespace hedgehog::cli {
namespace {

nlohmann::json to_json(const Attention::DistillationLoss& loss) {
  return {{"cross_entropy", loss.cross_entropy}, {"kl", loss.kl}, {"output_error", loss.output_error}};
}

void run_distill(const ConversionOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  const std::unique_ptr<Progress> progress = make_progress();
  ConversionConfig config = conversion_config(options);
  check(config.keep_budget.empty(), "--keep-softmax auto: of 'hedgehog convert' only");
  config.finetuning.kind = FinetuningKind::kNone;
  check(config.attention.kind != AttentionKind::kSoftmax, "--attention softmax: nothing to distil; choose linear or hybrid");
  check(config.distillation[0].tokens + config.distillation[1].tokens > 0 || options.maps.given(),
        "nothing to distil on: give --distill-tokens, or --maps-from a model that is distilled");
  ConversionJob job = open_job(options, *progress);
  Decoder& model = job.loaded.model;
  check(job.converted || !is_adapter(job),
        "{}: is a softmax adapter; 'hedgehog export' makes a model of it, which can be distilled", options.model);
  if (job.converted) {
    keep_attention(options, config, job);
  } else {
    model.set_attention(config.attention, config.keep_softmax);
  }
  take_maps(options, job, *progress);

  const std::int64_t length = std::min(config.distillation[0].length, std::ssize(job.evaluation.tokens));
  const std::int64_t rows = std::max<std::int64_t>(4096 / length, 1);
  const auto held_out = [&] {
    return mean_over_layers(model, distillation_losses(model, job.evaluation, rows, length, *progress));
  };
  const std::int64_t inspected = std::min(rows, kInspectedRows);
  const auto heads = [&] { return heads_on(model, job.evaluation, inspected, length, *progress); };
  const Attention::DistillationLoss before = held_out();
  FidelityReport report;
  report.models.push_back(reported_model("before distillation", heads(), {}));
  const TrainingRun training = training_run(options, config, job, options.output);
  const nlohmann::json stages = run_stages(conversion_stages(model, job.training, config), training, *progress);
  const Attention::DistillationLoss after = held_out();
  nlohmann::json description = describe(options, config, job, stages);
  const nlohmann::json measured = {{"length", length}, {"before", to_json(before)}, {"after", to_json(after)}};
  description["metrics"] = {{"distillation", measured}};
  write_adapter(options.output, model, full_weights(job, config), description);
  const std::vector<HeadFidelity> distilled = heads();
  report.models.push_back(reported_model("distilled", distilled, verdicts(distilled, hybrid_window(model))));
  report.title = options.model + ", distilled";
  report.subtitle =
      fmt::format("Each head against softmax, on {} rows of {} tokens of {}", inspected, length, job.evaluation.description);
  write_fidelity_report(options.output, report);
  finish_run(training);

  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.common.json) {
    return print_json("distill", options.model, options.common, seconds,
                      {{"output", options.output.string()}, {"held_out", measured}, {"training", stages}});
  }
  fmt::print("{:<24}{:>14}{:>14}\n", "held-out text", "before", "after");
  fmt::print("{:<24}{:>14.4f}{:>14.4f}\n", "KL(softmax || linear)", before.kl, after.kl);
  fmt::print("{:<24}{:>14.4f}{:>14.4f}\n", "cross-entropy", before.cross_entropy, after.cross_entropy);
  fmt::print("{:<24}{:>14.4f}{:>14.4f}\n", "output error", before.output_error, after.output_error);
  fmt::print("{} has the adapter\n", options.output.string());
}

}  // namespace

void add_distill(CLI::App& program) {
  auto options = std::make_shared<ConversionOptions>();
  CLI::App* verb = program.add_subcommand("distill", "Teach each layer's feature maps to imitate softmax, and no more");
  add_conversion_options(*verb, *options);
  verb->callback([options] { run_distill(*options); });
}

}  // namespace hedgehog::cli

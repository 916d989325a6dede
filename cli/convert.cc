// hedgehog convert MODEL --data TEXT -o DIR: distil, finetune, evaluate with controls, report. The main job.
#include "cli/conversion_options.h"
#include "cli/conversion_report.h"
#include "cli/exported_directory.h"
#include "cli/model_data.h"
#include "hedgehog/analysis/fidelity.h"
#include "hedgehog/base/error.h"

#include <algorithm>
#include <chrono>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

ReportRow measured(const std::string& name, const Perplexity& result, std::vector<ContextCost> costs) {
  return {name, result.perplexity, result.kl_to_softmax, result.top1_agreement, std::move(costs)};
}

/// The softmax model, finetuned with the same steps, tokens and LoRA or full weights; itself an adapter in DIR/baseline.
ReportRow run_baseline(const ConversionOptions& options, const ConversionConfig& config, const ConversionJob& job,
                       const Decoder& softmax, Progress& progress) {
  const ConversionConfig baseline = baseline_of(config);
  const fs::path directory = options.output / "baseline";
  Decoder model = softmax_model(job, config);
  const TrainingRun training = training_run(options, baseline, job, directory);
  const nlohmann::json stages = run_stages(conversion_stages(model, job.training, baseline), training, progress);
  nlohmann::json description = describe(baseline, job, stages);
  write_adapter(directory, model, full_weights(job, baseline), description);
  const Decoder finetuned = load_model(directory, model.dtype()).model;
  const Perplexity result = perplexity(finetuned, job.evaluation, job.perplexity, progress, &softmax);
  description["metrics"] = {{"perplexity", result.perplexity}, {"tokens", result.tokens}};
  write_adapter(directory, model, full_weights(job, baseline), description);
  finish_run(training);
  return measured("softmax, finetuned", result, {});
}

void evaluate(const ConversionOptions& options, const ConversionConfig& config, ConversionJob& job, ConversionReport& report,
              Progress& progress) {
  const Decoder softmax = softmax_model(job, config);
  Decoder model = load_model(options.output, job.loaded.model.dtype()).model;  // as every other verb will load it
  const auto costs = [&](const Decoder& measured_model) {
    return context_costs(measured_model, *job.tokenizer, job.evaluation, options.contexts, progress);
  };
  const Perplexity converted = perplexity(model, job.evaluation, job.perplexity, progress, &softmax);
  report.tokens = converted.tokens;
  Perplexity reference;
  reference.perplexity = converted.softmax_perplexity.value_or(0);
  report.rows.push_back(measured("softmax", reference, costs(softmax)));
  if (options.baseline) {
    report.rows.push_back(run_baseline(options, config, job, softmax, progress));
    report.baseline_ratio = converted.perplexity / report.rows.back().perplexity;
  }
  report.rows.push_back(measured("converted", converted, costs(model)));
  const Controls without = controls(model, job.evaluation, job.perplexity, progress);
  report.rows.push_back({"linear removed", without.linear_removed, {}, {}, {}});
  if (config.attention.kind == AttentionKind::kHybrid) {
    report.rows.push_back({"window removed", without.window_removed, {}, {}, {}});
  }
  report.rows.push_back({"no attention", without.no_attention, {}, {}, {}});
  const std::int64_t length = std::min<std::int64_t>(256, std::ssize(job.evaluation.tokens));
  Corpus text = job.evaluation;
  text.scored.clear();  // heads are looked at on all tokens, in rows without room between documents
  report.heads = fidelity(model, text, 4, length, progress);
  report.verdicts = verdicts(report.heads, hybrid_window(model));
}

void run_convert(const ConversionOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  const std::unique_ptr<Progress> progress = make_progress();
  const ConversionConfig config = conversion_config(options);
  check(config.attention.kind != AttentionKind::kSoftmax,
        "--attention softmax: nothing to convert; 'hedgehog finetune --attention softmax' trains the softmax model");
  if (!options.export_directory.empty()) check_export_directory(options.export_directory);
  ConversionJob job = open_job(options, *progress);
  check(!job.converted, "{}: is converted already; 'hedgehog finetune' trains it further", options.model);
  check(!is_adapter(job), "{}: is an adapter; 'hedgehog export' makes a model of it, which can be converted", options.model);
  Decoder& model = job.loaded.model;
  model.set_attention(config.attention, config.keep_softmax);

  const TrainingRun training = training_run(options, config, job, options.output);
  if (options.baseline) check_run(training_run(options, baseline_of(config), job, options.output / "baseline"));
  const nlohmann::json stages = run_stages(conversion_stages(model, job.training, config), training, *progress);
  ConversionReport report;
  report.model = options.model;
  report.description = describe(config, job, stages);
  // Written now and again with the metrics, so that nothing that comes between can lose it.
  write_adapter(options.output, model, full_weights(job, config), report.description);

  evaluate(options, config, job, report, *progress);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  nlohmann::json description = report.description;
  description["metrics"] = metrics(report);
  write_adapter(options.output, model, full_weights(job, config), description);
  write_report(options.output, report);
  if (!options.export_directory.empty()) {
    LoadedModel result = load_model(options.output, at::kFloat);  // as the verb export does
    write_export(options.export_directory, result);
  }
  finish_run(training);
  if (!options.common.json) {
    fmt::print("{}\n{} has the adapter and report.md\n", table(report), options.output.string());
    return;
  }
  nlohmann::json fields = metrics(report);
  fields["output"] = options.output.string();
  fields["training"] = stages;
  print_json("convert", options.model, options.common, report.seconds, fields);
}

}  // namespace

void add_convert(CLI::App& program) {
  auto options = std::make_shared<ConversionOptions>();
  CLI::App* verb = program.add_subcommand("convert", "Make a model linear: distil, finetune, measure, report");
  add_conversion_options(*verb, *options);
  verb->add_flag("--baseline", options->baseline,
                 "also finetune the softmax model with the same steps and tokens, and report the ratio of perplexities");
  verb->add_option("--export", options->export_directory, "also write a Hugging Face directory")->type_name("DIR");
  verb->callback([options] { run_convert(*options); });
}

}  // namespace hedgehog::cli

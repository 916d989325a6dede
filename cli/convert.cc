// hedgehog convert MODEL --data TEXT -o DIR: distil, finetune, evaluate with controls, report. The main job.
#include "cli/conversion_options.h"
#include "cli/conversion_report.h"
#include "cli/exported_directory.h"
#include "cli/model_data.h"
#include "hedgehog/analysis/attention_maps.h"
#include "hedgehog/analysis/kept_layers.h"
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_file.h"

#include <algorithm>
#include <chrono>
#include <span>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kInspectedLength = 256;  // of the rows whose heads are looked at
constexpr std::size_t kShownTokens = 48;        // of its beginning, whose attention is shown
constexpr const char* kKeptLayersFile = "kept_layers.json";
constexpr std::size_t kMostKeptLayers = std::size_t{1} << 20;  // bytes of it
constexpr std::int64_t kSampleTokens = 64;                     // that the models write after these

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
  nlohmann::json description = describe(options, baseline, job, stages);
  write_adapter(directory, model, full_weights(job, baseline), description);
  const Decoder finetuned = load_model(directory, model.dtype()).model;
  const Perplexity result = perplexity(finetuned, job.evaluation, job.perplexity, progress, &softmax);
  description["metrics"] = {{"perplexity", result.perplexity}, {"tokens", result.tokens}};
  write_adapter(directory, model, full_weights(job, baseline), description);
  finish_run(training);
  return measured("softmax, finetuned", result, {});
}

/// On a part of the evaluation text.
std::vector<HeadFidelity> heads_of(const Decoder& model, const ConversionJob& job, Progress& progress) {
  return heads_on(model, job.evaluation, kInspectedRows, kInspectedLength, progress);
}

/// The heads alone: verdicts are for what comes out in the end.
nlohmann::json stage_of(const std::string& name, const Decoder& model, const ConversionJob& job, Progress& progress) {
  nlohmann::json stage = reported_model(name, heads_of(model, job, progress), {});
  stage.erase("summary");
  return stage;
}

/// What a report shows of a whole model beside its heads.
nlohmann::json shown(const Decoder& model, const ConversionJob& job, const ReportRow& row, const std::string& prompt) {
  nlohmann::json scores = {{"perplexity", row.perplexity}};
  if (row.kl) scores["KL to softmax's choices"] = *row.kl;
  if (row.top1_agreement) scores["same choice as softmax"] = *row.top1_agreement;
  return {{"scores", scores},
          {"contexts", to_json(row.costs)},
          {"samples", nlohmann::json::array({written_sample(model, *job.tokenizer, prompt, kSampleTokens)})}};
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
  const std::span<const std::int32_t> text(job.evaluation.tokens);
  const auto some = text.first(std::min(text.size(), kShownTokens));
  const std::string prompt = job.tokenizer->decode(some, /*skip_special=*/true);
  const auto row = [&](const std::string& name) {
    return *std::find_if(report.rows.begin(), report.rows.end(), [&](const ReportRow& one) { return one.name == name; });
  };
  const std::vector<HeadFidelity> heads = heads_of(model, job, progress);
  nlohmann::json more = shown(model, job, row("converted"), prompt);
  more["maps"] = to_json(attention_maps(model, some), token_labels(*job.tokenizer, some));
  if (report.description.contains("kept_layers")) more["kept_layers"] = report.description["kept_layers"];
  std::vector<nlohmann::json>& models = report.fidelity.models;
  models.insert(models.begin(), reported_model("softmax", {}, {}, shown(softmax, job, row("softmax"), prompt)));
  models.push_back(reported_model("converted", heads, verdicts(heads, hybrid_window(model)), more));
  report.fidelity.title = options.model + ", converted";
  report.fidelity.subtitle = fmt::format("{} attention, map {}; on {} rows of {} tokens of {}",
                                         to_string(config.attention.kind), config.attention.feature_map, kInspectedRows,
                                         std::min(kInspectedLength, std::ssize(text)), job.evaluation.description);
}

/// --keep-softmax auto: chosen on the training text when the maps are distilled; a resumed run finds what was chosen.
void keep_layers(const ConversionOptions& options, const ConversionConfig& config, ConversionJob& job, Progress& progress) {
  const fs::path file = options.output / kKeptLayersFile;
  KeptLayers kept;
  if (fs::exists(file)) {
    kept = kept_layers(read_json_object(file.string(), kMostKeptLayers));
  } else {
    Corpus text = job.training;
    text.scored.clear();
    kept = choose_kept_layers(job.loaded.model, text, {memory_budget(config.keep_budget)}, progress);
    write_text_file(file, to_json(kept).dump(1) + "\n");
  }
  change_layers(job.loaded.model, kept);
}

/// The stages, between distillation and finetuning the choice of layers.
std::vector<StageMaker> stages_of(const ConversionOptions& options, const ConversionConfig& config, ConversionJob& job,
                                  Progress& progress) {
  std::vector<StageMaker> makers = conversion_stages(job.loaded.model, job.training, config);
  if (config.keep_budget.empty()) return makers;
  if (!options.resume) fs::remove(options.output / kKeptLayersFile);
  if (!finetunes(config)) return makers;
  makers.back() = [&options, &config, &job, &progress, finetuning = makers.back()] {
    keep_layers(options, config, job, progress);
    return finetuning();
  };
  return makers;
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
  take_maps(options, job, *progress);

  TrainingRun training = training_run(options, config, job, options.output);
  training.measure = [&] { return stage_of("", model, job, *progress); };
  if (options.baseline) check_run(training_run(options, baseline_of(config), job, options.output / "baseline"));
  ConversionReport report;
  report.model = options.model;
  report.fidelity.models.push_back(stage_of("before training", model, job, *progress));
  nlohmann::json stages = run_stages(stages_of(options, config, job, *progress), training, *progress);
  if (!config.keep_budget.empty() && !finetunes(config)) keep_layers(options, config, job, *progress);
  for (nlohmann::json& stage : stages) take_measured(stage, report.fidelity);
  report.description = describe(options, config, job, stages);
  if (!config.keep_budget.empty()) {
    report.description["kept_layers"] = read_json_object((options.output / kKeptLayersFile).string(), kMostKeptLayers);
  }
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
    fmt::print("{}\n{} has the adapter, report.html and report.md\n", table(report), options.output.string());
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

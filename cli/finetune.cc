// hedgehog finetune MODEL --data TEXT -o DIR: LoRA or all weights, of a converted model or (--attention softmax) of the
// original.
#include "cli/conversion_options.h"
#include "hedgehog/base/error.h"
#include "hedgehog/models/decoder_layer.h"

#include <chrono>

namespace hedgehog::cli {
namespace {

/// A converted model keeps its attention; a softmax one gets what the flags say.
void install_attention(const ConversionOptions& options, ConversionConfig& config, ConversionJob& job, Progress& progress) {
  if (!job.converted) {
    if (!options.attention_given) config.attention = {};
    if (config.attention.kind == AttentionKind::kSoftmax) return;
    check(!is_adapter(job), "{}: is a softmax adapter; 'hedgehog export' makes a model of it, which can get other attention",
          options.model);
    progress.message("the attention was not distilled before: it starts as the identity map");
    return job.loaded.model.set_attention(config.attention, config.keep_softmax);
  }
  keep_attention(options, config, job);
}

/// LoRA that is there goes on as it is, unless another is asked for (which the stage refuses).
void keep_lora(const ConversionOptions& options, FinetuningConfig& config, const DecoderLayer& layer) {
  std::vector<std::string> targets;
  for (const LinearSlot& slot : kLinearSlots) {
    const Linear& linear = layer.*slot.member;
    if (!linear.lora_a.defined()) continue;
    targets.emplace_back(slot.name);
    const std::int64_t rank = linear.lora_a.size(0);
    if (!options.lora_rank_given) config.lora_rank = rank;
    if (!options.lora_alpha_given) config.lora_alpha = linear.lora_scale * static_cast<double>(rank);
  }
  if (!targets.empty() && !options.lora_targets_given) config.lora_targets = targets;
}

/// The softmax model to compare with; an export that came from elsewhere may have none, and can be trained all the same.
std::optional<Decoder> reference(const ConversionJob& job, const ConversionConfig& config, Progress& progress) {
  try {
    return softmax_model(job, config);
  } catch (const Error& error) {
    check(config.finetuning.teacher_factor == 0 && config.finetuning.hidden_factor == 0,
          "--teacher-logits and --match-hidden need the softmax model: {}", error.what());
    progress.message(fmt::format("no comparison with softmax: {}", error.what()));
    return std::nullopt;
  }
}

void run_finetune(const ConversionOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  const std::unique_ptr<Progress> progress = make_progress();
  ConversionConfig config = conversion_config(options);
  check(config.keep_budget.empty(), "--keep-softmax auto: of 'hedgehog convert' only");
  config.distillation.clear();
  check(finetunes(config), "nothing to finetune on: give --finetune-tokens, and --finetune lora or full");
  ConversionJob job = open_job(options, *progress);
  install_attention(options, config, job, *progress);
  take_maps(options, job, *progress);
  Decoder& model = job.loaded.model;
  keep_lora(options, config.finetuning, model.layers().front());
  const std::optional<Decoder> softmax = reference(job, config, *progress);
  const Decoder* const teacher = softmax ? &*softmax : nullptr;
  const Perplexity before = perplexity(model, job.evaluation, job.perplexity, *progress, teacher);
  const TrainingRun training = training_run(options, config, job, options.output);
  const nlohmann::json stages = run_stages(conversion_stages(model, job.training, config, softmax), training, *progress);
  nlohmann::json description = describe(options, config, job, stages);
  write_adapter(options.output, model, full_weights(job, config), description);
  const Decoder finetuned = load_model(options.output, model.dtype()).model;  // as every other verb will load it
  const Perplexity after = perplexity(finetuned, job.evaluation, job.perplexity, *progress, teacher);
  nlohmann::json measured = {
      {"perplexity_before", before.perplexity}, {"perplexity", after.perplexity}, {"tokens", after.tokens}};
  if (teacher != nullptr) {
    measured["softmax_perplexity"] = *after.softmax_perplexity;
    measured["kl_to_softmax"] = *after.kl_to_softmax;
    measured["top1_agreement"] = *after.top1_agreement;
  }
  description["metrics"] = measured;
  write_adapter(options.output, model, full_weights(job, config), description);
  finish_run(training);

  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.common.json) {
    nlohmann::json fields = measured;
    fields["output"] = options.output.string();
    fields["training"] = stages;
    return print_json("finetune", options.model, options.common, seconds, fields);
  }
  fmt::print("{:<36}{:>12.4f}\n{:<36}{:>12.4f}\n", "perplexity before", before.perplexity, "perplexity", after.perplexity);
  if (teacher != nullptr) {
    fmt::print("{:<36}{:>12.4f}\n{:<36}{:>12.4f}\n", "perplexity of softmax, as it came", *after.softmax_perplexity,
               "KL(softmax || model)", *after.kl_to_softmax);
  }
  fmt::print("{} has the adapter\n", options.output.string());
}

}  // namespace

void add_finetune(CLI::App& program) {
  auto options = std::make_shared<ConversionOptions>();
  CLI::App* verb = program.add_subcommand("finetune", "Finetune a converted model, or the softmax model with the same recipe");
  add_conversion_options(*verb, *options);
  verb->callback([options] { run_finetune(*options); });
}

}  // namespace hedgehog::cli

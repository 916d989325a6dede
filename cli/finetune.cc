// hedgehog finetune MODEL --data TEXT -o DIR: LoRA or all weights, of a converted model or (--attention softmax) of the
// original.
#include "cli/conversion_options.h"
#include "hedgehog/base/error.h"

#include <algorithm>
#include <chrono>

namespace hedgehog::cli {
namespace {

/// A converted model keeps its attention; a softmax one gets what the flags say.
void install_attention(const ConversionOptions& options, ConversionConfig& config, ConversionJob& job, Progress& progress) {
  Llama& model = job.loaded.model;
  const bool softmax = config.attention.kind == AttentionKind::kSoftmax;
  if (job.loaded.hedgehog.is_null()) {
    if (!options.attention_given) config.attention = {};
    if (config.attention.kind == AttentionKind::kSoftmax) return;
    progress.message("the attention was not distilled before: it starts as the identity map");
    return model.set_attention(config.attention, config.keep_softmax);
  }
  check(!options.attention_given || !softmax, "{}: is converted; --attention softmax wants the model that it came from",
        options.model);
  config.keep_softmax.clear();
  for (std::size_t i = 0; i < model.layers().size(); ++i) {
    const AttentionConfig& installed = model.layers()[i].attention.config();
    if (installed.kind == AttentionKind::kSoftmax) {
      config.keep_softmax.push_back(static_cast<std::int64_t>(i));
    } else {
      config.attention = installed;
    }
  }
}

void run(const ConversionOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  const std::unique_ptr<Progress> progress = make_progress();
  ConversionConfig config = conversion_config(options);
  config.distillation.clear();
  check(config.finetuning.kind != FinetuningKind::kNone && config.finetuning.tokens > 0,
        "nothing to finetune on: give --finetune-tokens, and --finetune lora or full");
  ConversionJob job = open_job(options, *progress);
  install_attention(options, config, job, *progress);
  Llama& model = job.loaded.model;
  const Llama softmax = softmax_model(job, config);
  const Perplexity before = perplexity(model, job.evaluation, job.perplexity, *progress, &softmax);
  const nlohmann::json stages =
      run_stages(conversion_stages(model, job.training, config), training_run(options, config, job, options.output), *progress);
  nlohmann::json description = describe(config, job, stages);
  write_adapter(options.output, model, full_weights(job, config), description);
  const Perplexity after = perplexity(model, job.evaluation, job.perplexity, *progress, &softmax);
  const nlohmann::json measured = {{"perplexity_before", before.perplexity},
                                   {"perplexity", after.perplexity},
                                   {"softmax_perplexity", after.softmax_perplexity.value_or(0)},
                                   {"kl_to_softmax", after.kl_to_softmax.value_or(0)},
                                   {"top1_agreement", after.top1_agreement.value_or(0)},
                                   {"tokens", after.tokens}};
  description["metrics"] = measured;
  write_adapter(options.output, model, full_weights(job, config), description);

  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.common.json) {
    nlohmann::json fields = measured;
    fields["output"] = options.output.string();
    fields["training"] = stages;
    return print_json("finetune", options.model, options.common, seconds, fields);
  }
  fmt::print("{:<32}{:>12.4f}\n{:<32}{:>12.4f}\n{:<32}{:>12.4f}\n{:<32}{:>12.4f}\n", "perplexity before", before.perplexity,
             "perplexity", after.perplexity, "perplexity of softmax, as it came", after.softmax_perplexity.value_or(0),
             "KL(softmax || model)", after.kl_to_softmax.value_or(0));
  fmt::print("{} has the adapter\n", options.output.string());
}

}  // namespace

void add_finetune(CLI::App& program) {
  auto options = std::make_shared<ConversionOptions>();
  CLI::App* verb = program.add_subcommand("finetune", "Finetune a converted model, or the softmax model with the same recipe");
  add_conversion_options(*verb, *options);
  verb->callback([options] { run(*options); });
}

}  // namespace hedgehog::cli

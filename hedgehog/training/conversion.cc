#include "hedgehog/training/conversion.h"

#include "hedgehog/base/error.h"
#include "hedgehog/models/adapter.h"

#include <ATen/ATen.h>

namespace hedgehog {

bool finetunes(const ConversionConfig& config) {
  return config.finetuning.kind != FinetuningKind::kNone && config.finetuning.tokens > 0;
}

nlohmann::json to_json(const ConversionConfig& config) {
  nlohmann::json phases = nlohmann::json::array();
  for (const DistillationConfig& phase : config.distillation) {
    if (phase.tokens > 0) phases.push_back(to_json(phase));
  }
  nlohmann::json json = {{"attention", to_json(config.attention)},
                         {"keep_softmax", config.keep_softmax},
                         {"distillation", phases},
                         {"seed", config.seed}};
  if (!config.keep_budget.empty()) json["keep_budget"] = config.keep_budget;
  if (finetunes(config)) {
    json["finetuning"] = to_json(config.finetuning);
  }
  return json;
}

std::vector<StageMaker> conversion_stages(Decoder& model, const Corpus& corpus, const ConversionConfig& config,
                                          const std::optional<Decoder>& teacher) {
  // All that can be known to fail is known now, not after the hours of the stages before.
  const auto check_stage = [&](const auto& stage) {
    check(!model.config().learned_positions || stage.length <= model.config().max_positions,
          "rows of {} tokens are too long: the model has learned positions for {}", stage.length, model.config().max_positions);
    BatchSampler(corpus, stage.batch, stage.length, 0);
  };
  std::vector<StageMaker> stages;
  for (std::size_t i = 0; i < config.distillation.size(); ++i) {
    if (config.distillation[i].tokens <= 0) continue;
    check_stage(config.distillation[i]);
    check_distillation(config.distillation[i], fmt::format("distillation {}", i + 1));
    // Every stage has its own order of the data.
    stages.push_back([&model, &corpus, phase = config.distillation[i], i, seed = config.seed * 16 + i] {
      return std::make_unique<DistillationStage>(model, corpus, phase, fmt::format("distillation {}", i + 1), seed);
    });
  }
  if (finetunes(config)) {
    check_stage(config.finetuning);
    check_finetuning(config.finetuning, model);
    stages.push_back([&model, &corpus, teacher, finetuning = config.finetuning, seed = config.seed * 16 + 15] {
      return std::make_unique<FinetuningStage>(model, corpus, finetuning, seed, teacher);
    });
  }
  return stages;
}

ConversionConfig baseline_of(const ConversionConfig& config) {
  ConversionConfig baseline = config;
  baseline.attention = {};
  baseline.keep_softmax.clear();
  baseline.keep_budget.clear();
  baseline.distillation.clear();
  baseline.finetuning.map_learning_rate = 0;
  // Its teacher would be itself before the finetuning: a brake.
  baseline.finetuning.teacher_factor = 0;
  baseline.finetuning.hidden_factor = 0;
  return baseline;
}

nlohmann::json run_identity(const ConversionConfig& config, const Corpus& corpus, const std::string& base_sha256,
                            const Decoder& model) {
  return {
      {"recipe", to_json(config)}, {"corpus", corpus.sha256}, {"base", base_sha256}, {"dtype", at::toString(model.dtype())}};
}

}  // namespace hedgehog

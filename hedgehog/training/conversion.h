// A whole conversion as a list of stages: distillation in up to two phases, then finetuning; and what identifies it on resume.
#pragma once

#include "hedgehog/training/distillation.h"
#include "hedgehog/training/finetuning.h"
#include "hedgehog/training/training_run.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hedgehog {

struct ConversionConfig {
  AttentionConfig attention;
  std::vector<KeptSoftmax> keep_softmax;
  std::string
      keep_budget;  // or those that fit into such a memory, chosen after the distillation (analysis/kept_layers.h); empty: none
  std::vector<DistillationConfig> distillation;  // phases in order; those without tokens are left out
  FinetuningConfig finetuning;
  std::uint64_t seed = 0;
};
nlohmann::json to_json(const ConversionConfig& config);

/// Whether a finetuning follows the distillation.
bool finetunes(const ConversionConfig& config);

/// The stages for a model that has its attention installed already. `model` and `corpus` must outlive them. May be empty.
/// `teacher` as in FinetuningStage. Throws Error for what any of the stages could not begin with.
std::vector<StageMaker> conversion_stages(Decoder& model, const Corpus& corpus, const ConversionConfig& config,
                                          const std::optional<Decoder>& teacher = {});

/// The same finetuning for the softmax model, on the next token alone: what a converted model is to be measured against.
ConversionConfig baseline_of(const ConversionConfig& config);

/// What a resumed run must find again.
nlohmann::json run_identity(const ConversionConfig& config, const Corpus& corpus, const std::string& base_sha256,
                            const Decoder& model);

}  // namespace hedgehog

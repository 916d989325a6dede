// Finetuning after distillation, and of the softmax model as the baseline: LoRA (arXiv 2106.09685) or all weights, on the next
// token and, if wanted, on the softmax teacher's logits.
#pragma once

#include "hedgehog/data/batch_sampler.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/training/schedule.h"
#include "hedgehog/training/stage.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hedgehog {

enum class FinetuningKind { kNone, kLora, kFull };

/// "none", "lora", "full". Throws Error for any other name.
FinetuningKind finetuning_kind(const std::string& name);
std::string to_string(FinetuningKind kind);

struct FinetuningConfig {
  FinetuningKind kind = FinetuningKind::kLora;
  std::int64_t tokens = 0;  // 0: no finetuning
  std::int64_t length = 512, batch = 2;
  std::int64_t accumulate = 1;   // batches a step; a step equals one over a batch so many times larger
  double learning_rate = 1e-3;   // of LoRA, or of all weights
  double map_learning_rate = 0;  // of the attention's own weights, 0: frozen
  double weight_decay = 0;       // of matrices, not of the attention's own weights
  double clip = 1;               // gradient's norm, 0: no clipping
  Schedule schedule = Schedule::kCosine;
  std::int64_t warmup = 0;  // steps
  std::int64_t lora_rank = 8;
  double lora_alpha = 16;
  std::vector<std::string> lora_targets = {"q", "k", "v", "o"};  // also gate, up, down
  double teacher_factor = 0;                                     // (1 − f) · cross-entropy + f · KL(teacher ‖ model)
  double hidden_factor = 0;  // + this · hidden_error() against the teacher (hidden_states.h)
  bool gradient_checkpointing = false;
};
nlohmann::json to_json(const FinetuningConfig& config);

/// Throws Error for a configuration that the stage could not begin with on `model`: LoRA that does not fit its matrices, or
/// another one than the model has.
void check_finetuning(const FinetuningConfig& config, const Decoder& model);

class FinetuningStage : public Stage {
 public:
  /// Starts LoRA (one that is there goes on, see check_finetuning) or makes all weights trainable; both end with the stage.
  /// `model` and `corpus` must outlive it. Teacher's logits and hidden states are those of `teacher`, a softmax model whose
  /// weights are not being trained; without one, of the model's own weights as they are now under softmax attention.
  FinetuningStage(Decoder& model, const Corpus& corpus, const FinetuningConfig& config, std::uint64_t seed,
                  const std::optional<Decoder>& teacher = {});
  ~FinetuningStage() override;

  std::string name() const override { return "finetuning"; }
  std::int64_t steps() const override;
  StepResult step(std::int64_t index) override;
  NamedParameters weights() override;
  AdamW& optimizer() override { return optimizer_; }
  nlohmann::json position() const override;
  void set_position(const nlohmann::json& position) override;
  /// Mean losses over the last tenth of the steps.
  nlohmann::json report() const override;

 private:
  void start_lora(std::uint64_t seed);
  void choose_parameters();

  Decoder& model_;
  FinetuningConfig config_;
  BatchSampler sampler_;
  AdamW optimizer_;
  std::optional<Decoder> teacher_;
  std::vector<std::pair<at::Tensor*, bool>> required_gradient_;  // as it was before the stage
  bool checkpointing_before_;
  double cross_entropy_ = 0, kl_ = 0, hidden_error_ = 0;  // sums over `summed_` steps
  std::int64_t summed_ = 0;
};

}  // namespace hedgehog

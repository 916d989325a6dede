// Training a classifier on labelled examples: finetuning one that is there, before or after its conversion, and from scratch.
// And its distillation: the softmax model's q, k, v on the same examples.
#pragma once

#include "hedgehog/data/examples.h"
#include "hedgehog/models/classifier.h"
#include "hedgehog/training/distillation.h"
#include "hedgehog/training/schedule.h"
#include "hedgehog/training/stage.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

struct ClassificationConfig {
  double epochs = 3;
  std::int64_t batch = 32;
  double learning_rate = 5e-5;
  double map_learning_rate = 0;  // of the attention's own weights, 0: frozen
  double weight_decay = 0;       // of matrices, not of the attention's own weights
  double clip = 1;               // gradient's norm, 0: no clipping
  Schedule schedule = Schedule::kCosine;
  double warmup = 0.1;  // share of the steps
  // What the softmax model teaches besides, as it is before the training: (1 − teacher_factor) · the loss of the labels there
  // are + teacher_factor · KL(teacher ‖ model) of the logits (a regression: their squared error) + hidden_factor · the mean
  // over the layers of |x − x'|² / |x'|², x the hidden states that a layer's attention reads, x' the teacher's.
  double teacher_factor = 0;
  double hidden_factor = 0;
  at::ScalarType dtype = at::kFloat;  // what passes compute in, or bf16; weights, gradients' sums and updates are fp32
};
nlohmann::json to_json(const ClassificationConfig& config);

class ClassificationStage : public Stage {
 public:
  /// Trains all weights: by cross-entropy, or by the squared error where the labels are a regression's. `model` and `examples`
  /// must outlive the stage. `seed`: of the examples' order and of dropout, which a hidden_factor switches off: its noise would
  /// be larger than what is to be learned.
  ClassificationStage(Classifier& model, const Examples& examples, const ClassificationConfig& config, std::string name,
                      std::uint64_t seed);
  ~ClassificationStage() override;

  std::string name() const override { return name_; }
  std::int64_t steps() const override { return steps_; }
  StepResult step(std::int64_t index) override;
  NamedParameters weights() override { return all_weights(model_); }
  AdamW& optimizer() override { return optimizer_; }
  nlohmann::json position() const override;
  void set_position(const nlohmann::json& position) override;
  /// Mean loss over the last tenth of the steps.
  nlohmann::json report() const override;

 private:
  Classifier& model_;
  const Examples& examples_;
  ClassificationConfig config_;
  std::string name_;
  std::uint64_t seed_;
  ExampleOrder order_;
  std::int64_t steps_;
  AdamW optimizer_;
  std::unique_ptr<Classifier> teacher_;
  double loss_ = 0, hidden_error_ = 0;  // sums over `summed_` steps
  std::int64_t summed_ = 0;
};

/// How far logits [rows, labels] are from the softmax model's, a mean over the rows: KL(teacher ‖ model) in nats of `classes`,
/// of a regression the square of the difference. Differentiable in `logits`.
at::Tensor teacher_loss(const at::Tensor& logits, const at::Tensor& teacher, bool classes);

/// A distillation over the examples: `epochs` of them in batches of config.batch, whose tokens and length are not used. The
/// softmax model computes in `dtype`, fp32 or bf16.
std::unique_ptr<DistillationStage> classifier_distillation(Classifier& model, const Examples& examples, double epochs,
                                                           DistillationConfig config, std::uint64_t seed,
                                                           at::ScalarType dtype = at::kFloat);

/// Logits of all examples in order, fp32 [examples, labels], without gradients. Throws Interrupted.
at::Tensor predict(const Classifier& model, const Examples& examples, std::int64_t batch, Progress& progress);

}  // namespace hedgehog

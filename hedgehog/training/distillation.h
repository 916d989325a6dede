// Distillation: the teacher's own q, k, v enter each layer's attention, whose maps learn softmax's weights or outputs.
// Layers are independent of each other; all else in the model is frozen. With one step a batch one layer's activations are
// alive at a time.
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/training/schedule.h"
#include "hedgehog/training/stage.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

/// One phase of it.
struct DistillationConfig {
  std::int64_t tokens = 0;  // 0: the phase is left out
  std::int64_t length = 256, batch = 4;
  // Steps a batch: each learns from its own query rows, every `updates`-th. A pass of the teacher costs most of a distillation,
  // and maps learn more from many steps than from many rows. Above 1 all layers' q, k, v of a batch are kept.
  std::int64_t updates = 1;
  double weights_factor = 1, output_factor = 0;  // of the weights' cross-entropy and the outputs' error
  double learning_rate = 1e-2, weight_decay = 0;
  Schedule schedule = Schedule::kOneCycle;
  std::int64_t warmup = 0;  // steps; not for one-cycle
};
nlohmann::json to_json(const DistillationConfig& config);

/// Throws Error for a configuration that the stage called `name` could not begin with.
void check_distillation(const DistillationConfig& config, const std::string& name);

/// Where the stage gets its q, k, v from: a softmax model on batches of whatever it reads.
class TeacherPasses {
 public:
  virtual ~TeacherPasses() = default;
  virtual std::int64_t tokens_a_pass() const = 0;
  /// The next batch through the softmax model; `visit` gets each layer's attention input.
  virtual void next(const LayerVisitor& visit) = 0;
  /// Place in the data.
  virtual std::int64_t position() const = 0;
  virtual void set_position(std::int64_t position) = 0;
};

/// A layer that may learn: its attention, and how many last keys softmax sees there (0: all).
struct DistilledLayer {
  Attention* attention;
  std::int64_t teacher_window = 0;
};

class DistillationStage : public Stage {
 public:
  /// `layers` and what `passes` goes over must outlive the stage. `weights`: Stage::weights(). Throws Error if no layer has an
  /// attention with weights.
  DistillationStage(std::vector<DistilledLayer> layers, std::unique_ptr<TeacherPasses> passes,
                    std::function<NamedParameters()> weights, const DistillationConfig& config, std::string name);
  /// Of a language model on a corpus; both must outlive the stage.
  DistillationStage(Decoder& model, const Corpus& corpus, const DistillationConfig& config, std::string name,
                    std::uint64_t seed);

  ~DistillationStage() override;

  std::string name() const override { return name_; }
  std::int64_t steps() const override;
  StepResult step(std::int64_t index) override;
  NamedParameters weights() override;
  AdamW& optimizer() override { return optimizer_; }
  nlohmann::json position() const override;
  void set_position(const nlohmann::json& position) override;
  /// Losses of each layer, mean over the last tenth of the steps.
  nlohmann::json report() const override;

 private:
  // Calls `visit` with each layer's q, k, v of the step's batch.
  void visit_batch(std::int64_t index, const LayerVisitor& visit);

  std::vector<DistilledLayer> layers_;
  std::unique_ptr<TeacherPasses> passes_;
  std::function<NamedParameters()> weights_;
  DistillationConfig config_;
  std::string name_;
  // Shorter memories than AdamW's usual ones: a distillation is short (docs/decisions.md has the numbers).
  AdamW optimizer_{0.8, 0.95};
  // Of the batch that the next step goes on with: the layers' inputs, and its place in the data.
  std::vector<std::pair<std::int64_t, AttentionInput>> kept_;
  std::int64_t kept_position_ = 0;
  std::vector<std::pair<at::Tensor*, bool>> required_gradient_;  // as it was before the stage
  std::vector<Attention::DistillationLoss> sums_;                // per layer
  std::int64_t summed_ = 0;                                      // steps
};

/// Each layer's losses against softmax on `rows` rows of `length` tokens from the start of the corpus; nothing is trained.
/// Layers that are softmax have zeros.
std::vector<Attention::DistillationLoss> distillation_losses(Decoder& model, const Corpus& corpus, std::int64_t rows,
                                                             std::int64_t length, Progress& progress);

/// Mean over the layers that are not softmax.
Attention::DistillationLoss mean_over_layers(const Decoder& model, const std::vector<Attention::DistillationLoss>& losses);

}  // namespace hedgehog

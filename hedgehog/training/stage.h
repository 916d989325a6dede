// One phase of training, as the loop (training/training_run.h) drives it: optimizer steps, and a state that can be taken up
// again.
#pragma once

#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/training/adamw.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace hedgehog {

struct StepResult {
  double loss = 0;  // what the optimizer lowers
  double kl = 0;    // from the softmax teacher; 0 where it is not computed
  double learning_rate = 0;
  std::int64_t tokens = 0;
  nlohmann::json details = nlohmann::json::object();  // joins the step's line in the log
};

class Stage {
 public:
  virtual ~Stage() = default;
  /// For people and the log: "distillation 1".
  virtual std::string name() const = 0;
  virtual std::int64_t steps() const = 0;
  /// The optimizer step `index`, from 0. Steps come in order.
  virtual StepResult step(std::int64_t index) = 0;
  /// All of the model that this stage or one before it may have changed.
  virtual NamedParameters weights() = 0;
  virtual AdamW& optimizer() = 0;
  /// Place in the data and running sums.
  virtual nlohmann::json position() const = 0;
  virtual void set_position(const nlohmann::json& position) = 0;
  /// What a report says of the stage, once it is over.
  virtual nlohmann::json report() const = 0;
};

/// Makes a stage when its turn has come: what it finds in the model is what the stages before it left.
using StageMaker = std::function<std::unique_ptr<Stage>()>;

}  // namespace hedgehog

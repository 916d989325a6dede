// A task's score from a classifier's logits.
#pragma once

#include "hedgehog/data/tasks.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace hedgehog {

struct TaskScore {
  std::map<std::string, double> metrics;  // GLUE's of the task; of others "accuracy"
  double mean = 0;                        // of them: the task's score
  // Half of the 95 % interval over the examples (bootstrap), by the metric's name, and of the mean as "score".
  std::map<std::string, double> half_intervals;
};

/// logits [examples, labels] of the task's evaluation examples, in order.
TaskScore task_score(const Task& task, const at::Tensor& logits);

}  // namespace hedgehog

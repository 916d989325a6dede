// The score of a task of GLUE: its metrics (data/glue.h) and their mean.
#pragma once

#include "hedgehog/data/glue.h"

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

struct GlueScore {
  std::vector<std::pair<std::string, double>> metrics;  // "accuracy", "f1", "matthews", "pearson", "spearman", as the task has
  double mean = 0;
};

/// `predictions` and `labels` are classes 0, 1, … or scores, as TextExample::label. Throws Error for lists of different
/// lengths, for empty ones, and for what is no class of the task.
GlueScore glue_score(const GlueTask& task, std::span<const double> predictions, std::span<const double> labels);

}  // namespace hedgehog

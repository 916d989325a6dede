// Scores of predicted classes: accuracy, F1, Matthews' correlation.
#pragma once

#include <cstdint>
#include <span>

namespace hedgehog {

/// All throw Error for lists of different lengths and for empty ones.

/// The share of predictions that are the label.
double accuracy(std::span<const std::int64_t> predictions, std::span<const std::int64_t> labels);

/// 2·tp / (2·tp + fp + fn) of class 1. 0 where neither side has any.
double f1_score(std::span<const std::int64_t> predictions, std::span<const std::int64_t> labels);

/// Matthews' correlation, for more than two classes Gorodkin's: Pearson's of the classes' indicators, in [-1, 1]. 0 where
/// either side has one class only.
double matthews_correlation(std::span<const std::int64_t> predictions, std::span<const std::int64_t> labels);

}  // namespace hedgehog

#include "hedgehog/evaluation/classification.h"

#include "hedgehog/base/error.h"

#include <cmath>
#include <cstddef>
#include <map>

namespace hedgehog {
namespace {

void check_lists(std::span<const std::int64_t> predictions, std::span<const std::int64_t> labels) {
  check(predictions.size() == labels.size(), "{} predictions cannot be scored against {} labels", predictions.size(),
        labels.size());
  check(!labels.empty(), "there are no predictions to score");
}

}  // namespace

double accuracy(std::span<const std::int64_t> predictions, std::span<const std::int64_t> labels) {
  check_lists(predictions, labels);
  std::int64_t right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) right += predictions[i] == labels[i] ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

double f1_score(std::span<const std::int64_t> predictions, std::span<const std::int64_t> labels) {
  check_lists(predictions, labels);
  std::int64_t both = 0, either = 0;  // tp, and 2·tp + fp + fn
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const bool predicted = predictions[i] == 1, is = labels[i] == 1;
    both += predicted && is ? 1 : 0;
    either += (predicted ? 1 : 0) + (is ? 1 : 0);
  }
  return either > 0 ? 2.0 * static_cast<double>(both) / static_cast<double>(either) : 0.0;
}

double matthews_correlation(std::span<const std::int64_t> predictions, std::span<const std::int64_t> labels) {
  check_lists(predictions, labels);
  struct Counts {
    double predicted = 0, true_class = 0;
  };
  std::map<std::int64_t, Counts> classes;
  double right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    classes[predictions[i]].predicted += 1;
    classes[labels[i]].true_class += 1;
    right += predictions[i] == labels[i] ? 1 : 0;
  }
  const auto all = static_cast<double>(labels.size());
  double covariance = right * all, predicted = all * all, true_class = all * all;
  for (const auto& [id, counts] : classes) {
    covariance -= counts.predicted * counts.true_class;
    predicted -= counts.predicted * counts.predicted;
    true_class -= counts.true_class * counts.true_class;
  }
  return predicted > 0 && true_class > 0 ? covariance / (std::sqrt(predicted) * std::sqrt(true_class)) : 0.0;
}

}  // namespace hedgehog

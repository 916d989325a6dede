#include "hedgehog/evaluation/glue_score.h"

#include "hedgehog/base/error.h"
#include "hedgehog/evaluation/classification.h"
#include "hedgehog/evaluation/correlation.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace hedgehog {
namespace {

std::vector<std::int64_t> classes_of(const GlueTask& task, std::span<const double> values) {
  std::vector<std::int64_t> classes;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool is_class =
        values[i] >= 0 && values[i] < static_cast<double>(task.label_names.size()) && values[i] == std::floor(values[i]);
    check(is_class, "{}: value {} is {}, which is none of its {} classes", task.name, i, values[i], task.label_names.size());
    classes.push_back(static_cast<std::int64_t>(values[i]));
  }
  return classes;
}

}  // namespace

GlueScore glue_score(const GlueTask& task, std::span<const double> predictions, std::span<const double> labels) {
  check(predictions.size() == labels.size() && !labels.empty(), "{}: {} predictions cannot be scored against {} labels",
        task.name, predictions.size(), labels.size());
  GlueScore score;
  const bool regression = task.is_regression();
  const std::vector<std::int64_t> predicted = regression ? std::vector<std::int64_t>() : classes_of(task, predictions);
  const std::vector<std::int64_t> is = regression ? std::vector<std::int64_t>() : classes_of(task, labels);
  for (const GlueMetric metric : task.metrics) {
    switch (metric) {
      case GlueMetric::kAccuracy:
        score.metrics.emplace_back("accuracy", accuracy(predicted, is));
        break;
      case GlueMetric::kF1:
        score.metrics.emplace_back("f1", f1_score(predicted, is));
        break;
      case GlueMetric::kMatthews:
        score.metrics.emplace_back("matthews", matthews_correlation(predicted, is));
        break;
      case GlueMetric::kPearson:
        score.metrics.emplace_back("pearson", pearson(predictions, labels));
        break;
      case GlueMetric::kSpearman:
        score.metrics.emplace_back("spearman", spearman(predictions, labels));
        break;
    }
  }
  for (const auto& [name, value] : score.metrics) score.mean += value / static_cast<double>(score.metrics.size());
  return score;
}

}  // namespace hedgehog

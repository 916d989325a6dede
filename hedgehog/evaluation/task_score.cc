#include "hedgehog/evaluation/task_score.h"

#include "hedgehog/evaluation/classification.h"
#include "hedgehog/evaluation/confidence_interval.h"
#include "hedgehog/evaluation/glue_score.h"

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hedgehog {
namespace {

// GLUE's metrics of a task; of any other its accuracy.
GlueScore score_of(const Task& task, std::span<const double> predictions, std::span<const double> labels) {
  if (task_needs_tokenizer(task.name)) return glue_score(glue_task(task.name), predictions, labels);
  const std::vector<std::int64_t> found(predictions.begin(), predictions.end()), wanted(labels.begin(), labels.end());
  const double share = accuracy(found, wanted);
  return {.metrics = {{"accuracy", share}}, .mean = share};
}

std::vector<double> chosen_from(std::span<const double> values, std::span<const std::size_t> indices) {
  std::vector<double> chosen;
  chosen.reserve(indices.size());
  for (const std::size_t index : indices) chosen.push_back(values[index]);
  return chosen;
}

}  // namespace

TaskScore task_score(const Task& task, const at::Tensor& logits) {
  const std::vector<double> labels = task.evaluation->labels();
  const at::Tensor chosen = (task.labels == 1 ? logits.squeeze(-1) : logits.argmax(-1)).to(at::kDouble).contiguous();
  const std::span predictions(chosen.const_data_ptr<double>(), static_cast<std::size_t>(chosen.numel()));
  const GlueScore score = score_of(task, predictions, labels);
  const std::vector<double> half_widths = bootstrap_half_widths(labels.size(), [&](std::span<const std::size_t> indices) {
    const GlueScore drawn = score_of(task, chosen_from(predictions, indices), chosen_from(labels, indices));
    std::vector<double> values = {drawn.mean};
    for (const auto& metric : drawn.metrics) values.push_back(metric.second);
    return values;
  });
  TaskScore result;
  result.metrics.insert(score.metrics.begin(), score.metrics.end());
  result.mean = score.mean;
  result.half_intervals["score"] = half_widths.front();
  for (std::size_t i = 0; i < score.metrics.size(); ++i) result.half_intervals[score.metrics[i].first] = half_widths[i + 1];
  return result;
}

}  // namespace hedgehog

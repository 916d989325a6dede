#include "hedgehog/evaluation/task_score.h"

#include "hedgehog/evaluation/classification.h"
#include "hedgehog/evaluation/glue_score.h"

#include <ATen/ATen.h>

#include <vector>

namespace hedgehog {

TaskScore task_score(const Task& task, const at::Tensor& logits) {
  const std::vector<double> labels = task.evaluation->labels();
  const at::Tensor chosen = (task.labels == 1 ? logits.squeeze(-1) : logits.argmax(-1)).to(at::kDouble).contiguous();
  const std::span predictions(chosen.const_data_ptr<double>(), static_cast<std::size_t>(chosen.numel()));
  TaskScore result;
  if (task_needs_tokenizer(task.name)) {
    const GlueScore score = glue_score(glue_task(task.name), predictions, labels);
    result.metrics.insert(score.metrics.begin(), score.metrics.end());
    result.mean = score.mean;
    return result;
  }
  const std::vector<std::int64_t> found(predictions.begin(), predictions.end()), wanted(labels.begin(), labels.end());
  result.metrics["accuracy"] = result.mean = accuracy(found, wanted);
  return result;
}

}  // namespace hedgehog

// A classifier and the labelled task that it is trained or measured on: what train, eval and inspect share.
#pragma once

#include "hedgehog/analysis/head_fidelity.h"
#include "hedgehog/base/progress.h"
#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/data/tasks.h"
#include "hedgehog/models/classifier.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace hedgehog::cli {

struct TaskModel {
  std::optional<Checkpoint> checkpoint;  // none: from scratch
  std::unique_ptr<Tokenizer> tokenizer;  // null: the task has no texts
  std::unique_ptr<Classifier> model;
  Task task;
};

/// MODEL is a config.json, of which a model is made from `seed`, or a checkpoint. With `new_classifier` one that has no
/// classifier of the task's labels gets one from `seed`; else that is an Error.
TaskModel open_task_model(const std::string& model, const TaskConfig& task, std::uint64_t seed, bool new_classifier);

/// What write_classifier() is given of a task, so that measured_task() finds it.
nlohmann::json describe(const TaskConfig& task);

/// The task to measure `model` on: the one of `asked`, or that it was trained on; none for a model that says no task. Length,
/// numbers of examples and seed are those of the training where `asked` leaves them 0.
std::optional<TaskConfig> measured_task(const std::string& model, TaskConfig asked);

/// Whether any layer's attention is not softmax.
bool has_linear_part(Classifier& model);

/// Each head beside softmax on the task's first evaluation examples.
std::vector<HeadFidelity> task_heads(TaskModel& job, std::int64_t examples, Progress& progress);

struct ScoredTask {
  nlohmann::json fields;            // what --json prints: task, score, metrics, examples; of a converted model also fidelity
  std::vector<HeadFidelity> heads;  // of a converted model
};

/// On the task's evaluation examples, `batch` at a time; heads on the first `fidelity_examples`, 0: none.
ScoredTask score_task(TaskModel& job, std::int64_t batch, std::int64_t fidelity_examples, Progress& progress);

/// Its "metrics" and "fidelity" as lines for people.
void print_task_score(const nlohmann::json& fields);

}  // namespace hedgehog::cli

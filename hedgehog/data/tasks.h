// The labelled tasks by name, as examples for a classifier: GLUE, associative recall, Long Range Arena, small images.
#pragma once

#include "hedgehog/data/examples.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace hedgehog {

struct TaskConfig {
  std::string name;            // one of task_names(), upper and lower case alike
  std::filesystem::path data;  // the folder of the task's files: GLUE's, above CoLA/ and the others; of generated tasks none
  std::int64_t length =
      0;  // most tokens of an example, longer ones are cut; of recall, listops and pathfinder what is made; 0: the task's own
  std::int64_t training = 0, evaluation = 0;  // examples, the first ones; 0: all, or the task's own number
  // GLUE's tasks: so many examples more to train on, without labels, made of all the training part's texts
  // (text_augmentation.h).
  std::int64_t augmented = 0;
  std::uint64_t seed = 0;  // of what is generated
};

/// Examples to train on and to measure on, and what a model has to have for them.
struct Task {
  std::string name;
  std::unique_ptr<Examples> training, evaluation;
  std::int64_t labels = 0;                  // classes; 1: a regression
  std::int64_t vocabulary = 0, length = 0;  // of a model from scratch: ids, most tokens; images: their side
  bool images = false;                      // is read as images
  bool pairs = false;                       // of two sequences each, which a model reads apart
  std::int64_t channels = 1;                // of images
};

/// "cola", "sst-2", …, "recall", "listops", "text", "retrieval", "image", "pathfinder", "vision", "images".
std::vector<std::string> task_names();

/// `tokenizer`: of GLUE's tasks only, may be null for others. Throws Error for a name that is not known, and all that the
/// readers throw.
Task open_task(const TaskConfig& config, const Tokenizer* tokenizer);

/// Whether the task's texts go through a tokenizer.
bool task_needs_tokenizer(const std::string& name);

}  // namespace hedgehog

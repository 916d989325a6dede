// GLUE (Wang et al. 2019): the table of its tasks, and the reader of their official TSV files.
#pragma once

#include "hedgehog/data/tsv_reader.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

enum class GlueMetric { kAccuracy, kF1, kMatthews, kPearson, kSpearman };

struct GlueTask {
  std::string name;                              // its folder's name, such as "SST-2"
  std::string first, second;                     // the sentences' columns; `second` is empty for tasks of one sentence
  std::string label;                             // the label's column
  std::vector<std::string> label_names;          // of class 0, 1, …, as the files write them; empty: regression
  std::vector<GlueMetric> metrics;               // the task's score is their mean
  std::vector<std::string> splits;               // with labels: "train" first, then those to evaluate on
  TsvOptions format = {};                        // CoLA has no header; QQP's train.tsv has rows that newlines broke
  double lowest_score = 0.0, highest_score = 0;  // of regression

  bool is_regression() const { return label_names.empty(); }
};

/// CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI, in the order of the benchmark's table.
std::span<const GlueTask> glue_tasks();

/// The task called `name`, upper and lower case alike; null if there is none.
const GlueTask* find_glue_task(std::string_view name);

/// The same; throws Error that lists the names if there is none.
const GlueTask& glue_task(std::string_view name);

/// A text or a pair of texts, with the class as 0, 1, … or the score.
struct TextExample {
  std::string text;
  std::optional<std::string> second;
  double label = 0;
};

struct GlueExamples {
  std::vector<TextExample> examples;  // in the file's order
  std::int64_t skipped_rows = 0;      // not 0 only for QQP, whose broken rows the usual loaders leave out too
};

/// Reads a file with labels (not test.tsv, whose labels are hidden), *.zst unpacked on the way. Texts are as they stand in the
/// file. Throws Error with file and line for a missing column, an unknown label, a score out of range, text that is not UTF-8,
/// a row that is cut, and for a file without examples.
GlueExamples read_glue(const GlueTask& task, const std::filesystem::path& path);

/// `folder`/`task.name`/`split`.tsv, or the same with .zst. Throws Error if neither is there, or the task has no such split.
std::filesystem::path glue_file(const std::filesystem::path& folder, const GlueTask& task, std::string_view split);

}  // namespace hedgehog

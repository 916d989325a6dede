#include "hedgehog/data/glue.h"

#include "hedgehog/base/error.h"
#include "hedgehog/data/text_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;

const std::vector<GlueTask>& table() {
  using enum GlueMetric;
  static const std::vector<std::string> binary = {"0", "1"}, entailment = {"entailment", "not_entailment"},
                                        splits = {"train", "dev"};
  static const std::vector<GlueTask> tasks = {
      {"CoLA", "sentence", "", "label", binary, {kMatthews}, splits, {{"source", "label", "mark", "sentence"}}},
      {"SST-2", "sentence", "", "label", binary, {kAccuracy}, splits},
      {"MRPC", "#1 String", "#2 String", "Quality", binary, {kAccuracy, kF1}, splits},
      {"STS-B", "sentence1", "sentence2", "score", {}, {kPearson, kSpearman}, splits, {}, 0.0, 5.0},
      {"QQP", "question1", "question2", "is_duplicate", binary, {kAccuracy, kF1}, splits, {{}, true}},
      {"MNLI",
       "sentence1",
       "sentence2",
       "gold_label",
       {"entailment", "neutral", "contradiction"},
       {kAccuracy},
       {"train", "dev_matched", "dev_mismatched"}},
      {"QNLI", "question", "sentence", "label", entailment, {kAccuracy}, splits},
      {"RTE", "sentence1", "sentence2", "label", entailment, {kAccuracy}, splits},
      {"WNLI", "sentence1", "sentence2", "label", binary, {kAccuracy}, splits},
  };
  return tasks;
}

bool equal_but_for_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

double class_of(const GlueTask& task, std::string_view label, const TsvReader& reader) {
  const auto found = std::find(task.label_names.begin(), task.label_names.end(), label);
  if (found == task.label_names.end()) {
    fail("{}: unknown label '{}' in the column '{}'; {}'s labels are {}", reader.where(), label.substr(0, 40), task.label,
         task.name, fmt::join(task.label_names, ", "));
  }
  return static_cast<double>(found - task.label_names.begin());
}

double score_of(const GlueTask& task, std::string_view text, const TsvReader& reader) {
  double score = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), score);
  const bool good = problem == std::errc() && end == text.data() + text.size() && score >= task.lowest_score &&
                    score <= task.highest_score;  // false for NaN
  if (!good) {
    fail("{}: '{}' in the column '{}' is no score from {} to {}", reader.where(), text.substr(0, 40), task.label,
         task.lowest_score, task.highest_score);
  }
  return score;
}

}  // namespace

std::span<const GlueTask> glue_tasks() {
  return table();
}

const GlueTask* find_glue_task(std::string_view name) {
  const std::vector<GlueTask>& all = table();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const GlueTask& task) { return equal_but_for_case(task.name, name); });
  return found == all.end() ? nullptr : &*found;
}

const GlueTask& glue_task(std::string_view name) {
  if (const GlueTask* found = find_glue_task(name)) return *found;
  std::string names;
  for (const GlueTask& task : table()) names += (names.empty() ? "" : ", ") + task.name;
  fail("'{}' is no task of GLUE; the tasks are {}", name, names);
}

GlueExamples read_glue(const GlueTask& task, const fs::path& path) {
  std::vector<std::string> columns = {task.label, task.first};
  if (!task.second.empty()) columns.push_back(task.second);
  TsvReader reader(path, columns, task.format);
  GlueExamples result;
  for (std::vector<std::string_view> fields; reader.next(fields);) {
    TextExample& example = result.examples.emplace_back();
    example.label = task.is_regression() ? score_of(task, fields[0], reader) : class_of(task, fields[0], reader);
    example.text = fields[1];
    if (!task.second.empty()) example.second = fields[2];
  }
  check(!result.examples.empty(), "{}: holds no examples of {}", path.string(), task.name);
  result.skipped_rows = reader.skipped();
  return result;
}

fs::path glue_file(const fs::path& folder, const GlueTask& task, std::string_view split) {
  check(std::find(task.splits.begin(), task.splits.end(), split) != task.splits.end(),
        "{} has no part '{}' with labels; its parts are {}", task.name, split, fmt::join(task.splits, ", "));
  const fs::path plain = folder / task.name / fmt::format("{}.tsv", split);
  const auto found = plain_or_packed(plain);
  check(found.has_value(), "{}: is not there, nor with .zst: give the folder that holds GLUE's folders {}, …", plain.string(),
        task.name);
  return *found;
}

}  // namespace hedgehog

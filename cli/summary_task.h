// --task samsum of convert, distill, finetune and eval: a language model on dialogues and their summaries instead of plain
// text.
#pragma once

#include "hedgehog/data/summaries.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace hedgehog::cli {

inline constexpr const char* kSamsum = "samsum";

struct SummaryTask {
  std::string name;         // empty: no task, --data is text
  std::int64_t length = 0;  // most tokens of an example, 0: the task's own
  std::int64_t summary_tokens = SummaryLengths{}.summary;
  std::int64_t examples = 0;

  bool given() const { return name == kSamsum; }
  SummaryLengths lengths() const { return {length > 0 ? length : SummaryLengths{}.example, summary_tokens}; }
};

/// Adds --task --examples --task-length --summary-tokens. `examples` says what the number is of; `others` are names that --task
/// takes too.
void add_summary_task(CLI::App& verb, SummaryTask& task, const std::string& examples, std::vector<std::string> others = {});

/// The examples of a part, "train", "validation" or "test", of the folder that --data names; `count` and `limit_tokens` 0: all.
SummaryExamples read_summary_task(const SummaryTask& task, const std::filesystem::path& folder, const std::string& part,
                                  const Tokenizer& tokenizer, std::int64_t count, std::int64_t limit_tokens);

}  // namespace hedgehog::cli

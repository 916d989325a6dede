#include "cli/summary_task.h"

#include <utility>

namespace hedgehog::cli {

void add_summary_task(CLI::App& verb, SummaryTask& task, const std::string& examples, std::vector<std::string> others) {
  const std::string group = "Task";
  const CLI::Validator least = CLI::Range(std::int64_t{2}, std::int64_t{1} << 24).description("");
  const std::string classifier = others.empty() ? "" : "; others: a classifier's, by default what it was trained on";
  others.emplace_back(kSamsum);
  verb.add_option("--task", task.name, "samsum: --data is its folder, and only the summaries' tokens count" + classifier)
      ->check(CLI::IsMember(std::move(others), CLI::ignore_case))
      ->group(group);
  verb.add_option("--examples", task.examples, examples)
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  verb.add_option("--task-length", task.length, "most tokens of an example, 0: the task's own; longer dialogues lose their end")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  verb.add_option("--summary-tokens", task.summary_tokens, "of these for the summary, most")
      ->check(least)
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
}

SummaryExamples read_summary_task(const SummaryTask& task, const std::filesystem::path& folder, const std::string& part,
                                  const Tokenizer& tokenizer, std::int64_t count, std::int64_t limit_tokens) {
  const std::filesystem::path file = samsum_file(folder, part);
  return summary_examples(read_samsum(file), tokenizer, task.lengths(), count, limit_tokens, file.string());
}

}  // namespace hedgehog::cli

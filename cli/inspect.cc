// hedgehog inspect MODEL: per layer and head, how the converted attention differs from softmax, on a text or on a task.
#include "cli/command.h"
#include "cli/model_data.h"
#include "cli/task_model.h"
#include "hedgehog/analysis/fidelity.h"
#include "hedgehog/analysis/verdicts.h"
#include "hedgehog/base/error.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

namespace hedgehog::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kBatch = 16;           // examples of a task at a time
constexpr std::size_t kPrintedVerdicts = 10;  // lines

/// Tokens of the longest rows that a converted model learned from; 0: not known.
std::int64_t training_length(const nlohmann::json& description) {
  std::int64_t length = 0;
  for (const char* stage : {"/recipe/distillation/length", "/recipe/finetuning/length"}) {
    const nlohmann::json::json_pointer place(stage);
    if (description.contains(place) && description[place].is_number_integer())
      length = std::max(length, description[place].get<std::int64_t>());
  }
  return length;
}

struct InspectOptions {
  CommonOptions common;
  std::string model;
  std::vector<std::filesystem::path> data;
  TaskConfig task;
  std::int64_t sequences = 4, length = 512, examples = 64;
  bool join = false;
};

struct Column {
  const char* title;
  double HeadFidelity::*value;
};

constexpr std::size_t kColumnWidth = 7;  // of a column, if its title is not wider
constexpr std::array kColumns = {
    Column{"entropy, softmax", &HeadFidelity::entropy_softmax},
    Column{"entropy, linear", &HeadFidelity::entropy_linear},
    Column{"KL", &HeadFidelity::kl},
    Column{"monotonicity", &HeadFidelity::monotonicity},
    Column{"inverted", &HeadFidelity::inverted_pairs},
    Column{"linear share", &HeadFidelity::linear_share},
    Column{"output error", &HeadFidelity::output_error},
    Column{"rank", &HeadFidelity::effective_rank},
    Column{"log denominator", &HeadFidelity::log_denominator},
};

void print_row(const std::string& layer, const std::string& head, const HeadFidelity& values) {
  fmt::print("{:>5} {:>4}", layer, head);
  for (const Column& column : kColumns) {
    const double value = values.*column.value;
    fmt::print("  {:>{}}", std::isnan(value) ? "" : fmt::format("{:.4f}", value),
               std::max(std::strlen(column.title), kColumnWidth));
  }
  fmt::print("\n");
}

void print_table(const std::vector<HeadFidelity>& heads) {
  fmt::print("layer head");
  for (const Column& column : kColumns) fmt::print("  {:>{}}", column.title, kColumnWidth);
  fmt::print("\n");
  for (const HeadFidelity& head : heads) print_row(std::to_string(head.layer), std::to_string(head.head), head);
  print_row("mean", "", mean_over_heads(heads));
}

void print(const InspectOptions& options, const std::vector<HeadFidelity>& heads, const std::vector<Verdict>& verdicts,
           nlohmann::json data, Clock::time_point start) {
  if (!options.common.json) {
    print_table(heads);
    fmt::print("\n{}\n", fmt::join(in_words(verdicts, heads.size(), kPrintedVerdicts), "\n"));
    return;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  print_json("inspect", options.model, options.common, seconds,
             {{"heads", to_json(heads)},
              {"means", to_json(mean_over_heads(heads))},
              {"verdicts", to_json(verdicts)},
              {"data", std::move(data)}});
}

void run_inspect(const InspectOptions& options) {
  const auto start = Clock::now();
  apply(options.common);
  const std::unique_ptr<Progress> progress = make_progress();
  TaskConfig asked = options.task;
  asked.data = options.data.size() == 1 ? options.data.front() : std::filesystem::path();
  if (const auto task = measured_task(options.model, asked)) {
    TaskModel job = open_task_model(options.model, *task, options.common.seed, /*new_classifier=*/false);
    const std::int64_t count = std::min(options.examples, job.task.evaluation->size());
    const auto heads = fidelity(*job.model, *job.task.evaluation, count, kBatch, *progress);
    return print(options, heads, verdicts(heads, /*window=*/0), {{"task", job.task.name}, {"examples", count}}, start);
  }
  check(!options.data.empty(), "--data: which text should {} be inspected on?", options.model);
  const LoadedModel loaded = load_model(options.model, compute_dtype(options.common));
  Corpus corpus = measured_corpus(loaded, options.data, options.sequences * options.length);
  if (options.join) corpus.document_starts.resize(1);
  const auto heads = fidelity(loaded.model, corpus, options.sequences, options.length, *progress);
  std::vector<HeadFidelity> at_training_length;
  const std::int64_t trained = training_length(loaded.hedgehog);
  if (trained > 0 && trained < options.length) {
    const std::int64_t sequences = (options.sequences * options.length + trained - 1) / trained;
    at_training_length = fidelity(loaded.model, corpus, sequences, trained, *progress);
  }
  print(options, heads, verdicts(heads, hybrid_window(loaded.model), at_training_length), corpus.description, start);
}

}  // namespace

void add_inspect(CLI::App& program) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* verb = program.add_subcommand("inspect", "Compare each head's attention with softmax on the same queries and keys");
  verb->add_option("model", options->model, "a checkpoint, an adapter, an exported directory, or a classifier")
      ->required()
      ->type_name("MODEL");
  verb->add_option("--data", options->data, "text files, JSON lines or folders; with a task its folder")->type_name("FILE...");
  verb->add_option("--task", options->task.name, "of a classifier; by default what it was trained on")
      ->check(CLI::IsMember(task_names(), CLI::ignore_case));
  verb->add_option("--task-length", options->task.length, "most tokens of an example, 0: the task's own")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--examples", options->examples, "of the task to look at")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--sequences", options->sequences, "windows of the data to look at")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24))
      ->capture_default_str();
  verb->add_option("--length", options->length, "tokens of a window")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 24))
      ->capture_default_str();
  verb->add_flag("--join", options->join, "take all texts as one, so that windows longer than a text are full");
  add_common_options(*verb, options->common);
  verb->callback([options] { run_inspect(*options); });
}

}  // namespace hedgehog::cli

// hedgehog inspect MODEL...: per layer and head, how the converted attention differs from softmax, on a text or on a task.
#include "cli/command.h"
#include "cli/context_costs.h"
#include "cli/fidelity_report.h"
#include "cli/model_data.h"
#include "cli/task_model.h"
#include "hedgehog/analysis/attention_maps.h"
#include "hedgehog/analysis/fidelity.h"
#include "hedgehog/analysis/kept_layers.h"
#include "hedgehog/analysis/verdicts.h"
#include "hedgehog/base/error.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

namespace hedgehog::cli {
namespace {

constexpr std::size_t kPrintedVerdicts = 10;  // lines
constexpr std::int64_t kMostMapTokens = 128;
constexpr double kMostMapBytes = 2.5e6;  // of all maps in a report, so that the page stays below 5 MB

/// Tokens of the longest rows that a converted model learned from; 0: not known.
std::int64_t training_length(const nlohmann::json& description) {
  std::int64_t length = 0;
  for (const char* stage : {"/recipe/distillation/0/length", "/recipe/distillation/1/length", "/recipe/finetuning/length"}) {
    const nlohmann::json::json_pointer place(stage);
    if (description.contains(place) && description[place].is_number_integer())
      length = std::max(length, description[place].get<std::int64_t>());
  }
  return length;
}

struct InspectOptions {
  CommonOptions common;
  std::vector<std::string> models;
  std::vector<std::filesystem::path> data;
  TaskConfig task;
  std::int64_t sequences = 4, length = 512, examples = 64;
  bool join = false;
  bool whole_layers = false;
  std::string memory;            // that layers are to be chosen for; empty: none are
  std::filesystem::path output;  // of a report; empty: none
  std::string text;              // whose attention the report shows; empty: the data's beginning
  std::int64_t map_tokens = 48, sample_tokens = 64;
  std::vector<std::string> prompts;
  std::vector<std::int64_t> contexts = {512, 2048};
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

/// A model and what was measured on it.
struct Inspected {
  std::string model;
  std::vector<HeadFidelity> heads;
  std::vector<Verdict> verdicts;
  std::optional<KeptLayers> kept;
  nlohmann::json data;                             // what on, for --json
  std::string text;                                // the same in words
  nlohmann::json more = nlohmann::json::object();  // of a report
};

/// Tokens of the text whose attention is shown: as many as asked for, if the page has room for all its models' heads.
std::int64_t map_tokens(const InspectOptions& options, std::size_t heads, bool causal) {
  const double maps = 2.0 * static_cast<double>(heads * options.models.size());
  const double bytes_a_square = (causal ? 0.5 : 1.0) * 4 / 3;  // base64
  return std::min(options.map_tokens, static_cast<std::int64_t>(std::sqrt(kMostMapBytes / (maps * bytes_a_square))));
}

/// The maps' axes: tokens, or of an image its places.
std::vector<std::string> labels(const TaskModel& job, const ClassifierInput& example, std::int64_t count) {
  if (job.tokenizer && example.tokens.defined()) {
    const at::Tensor ids = example.tokens[0].slice(0, 0, count).to(at::kInt).contiguous();
    const std::int32_t* const first = ids.const_data_ptr<std::int32_t>();
    return token_labels(*job.tokenizer, {first, static_cast<std::size_t>(ids.numel())});
  }
  std::vector<std::string> numbers;
  for (std::int64_t i = 0; i < count; ++i) numbers.push_back(std::to_string(i));
  return numbers;
}

Inspected inspect_task(const InspectOptions& options, const std::string& model, const TaskConfig& task, Progress& progress) {
  check(options.memory.empty(), "--memory: of language models only, and {} is a classifier", model);
  TaskModel job = open_task_model(model, task, options.common.seed, /*new_classifier=*/false);
  const Examples& examples = *job.task.evaluation;
  const std::int64_t count = std::min(options.examples, examples.size());
  Inspected result;
  result.model = model;
  result.heads = task_heads(job, options.examples, progress);
  result.verdicts = verdicts(result.heads, /*window=*/0);
  result.data = {{"task", job.task.name}, {"examples", count}};
  result.text = fmt::format("{} examples of {}", count, job.task.name);
  if (options.output.empty() || options.map_tokens == 0) return result;
  const std::vector<std::int64_t> row = {0};
  const ClassifierInput example = examples.batch(row).input;
  const AttentionMaps maps = attention_maps(*job.model, example, map_tokens(options, result.heads.size(), /*causal=*/false));
  result.more["maps"] = to_json(maps, labels(job, example, maps.tokens));
  return result;
}

/// What the report shows of a language model beside its heads.
nlohmann::json shown(const InspectOptions& options, const LoadedModel& loaded, const Corpus& corpus, std::size_t heads,
                     Progress& progress) {
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(loaded.checkpoint.tokenizer);
  nlohmann::json more = nlohmann::json::object();
  if (options.map_tokens > 0) {
    std::vector<std::int32_t> tokens = options.text.empty() ? corpus.tokens : tokenizer->encode(options.text, true);
    tokens.resize(std::min(tokens.size(), static_cast<std::size_t>(map_tokens(options, heads, /*causal=*/true))));
    more["maps"] = to_json(attention_maps(loaded.model, tokens), token_labels(*tokenizer, tokens));
  }
  if (!options.contexts.empty()) {
    more["contexts"] = to_json(context_costs(loaded.model, *tokenizer, corpus, options.contexts, progress));
  }
  for (const std::string& prompt : options.prompts) {
    more["samples"].push_back(written_sample(loaded.model, *tokenizer, prompt, options.sample_tokens));
  }
  return more;
}

Inspected inspect_text(const InspectOptions& options, const std::string& model, Progress& progress) {
  check(!options.data.empty(), "--data: which text should {} be inspected on?", model);
  const LoadedModel loaded = load_model(model, compute_dtype(options.common));
  Corpus corpus = measured_corpus(loaded, options.data, options.sequences * options.length);
  if (options.join) corpus.document_starts.resize(1);
  Inspected result;
  result.model = model;
  result.heads = fidelity(loaded.model, corpus, options.sequences, options.length, progress);
  std::vector<HeadFidelity> at_training_length;
  const std::int64_t trained = training_length(loaded.hedgehog);
  if (trained > 0 && trained < options.length) {
    const std::int64_t sequences = (options.sequences * options.length + trained - 1) / trained;
    at_training_length = fidelity(loaded.model, corpus, sequences, trained, progress);
  }
  result.verdicts = verdicts(result.heads, hybrid_window(loaded.model), at_training_length);
  result.data = corpus.description;
  result.text = fmt::format("{} windows of {} tokens of {}", options.sequences, options.length, corpus.description);
  if (!options.memory.empty()) {
    const KeptLayersConfig config{.budget = memory_budget(options.memory),
                                  .tokens = options.sequences * options.length,
                                  .window = options.length,
                                  .heads = !options.whole_layers};
    result.kept = choose_kept_layers(loaded.model, corpus, config, progress);
  }
  if (!options.output.empty()) result.more = shown(options, loaded, corpus, result.heads.size(), progress);
  if (result.kept) result.more["kept_layers"] = to_json(*result.kept);
  return result;
}

void print(const KeptLayers& kept) {
  fmt::print("\n");
  for (const Cells& line : kept_layers_table(kept)) fmt::print("{:<44}{:>12}{:>12}\n", line[0], line[1], line[2]);
}

void print(const Inspected& inspected) {
  print_table(inspected.heads);
  fmt::print("\n{}\n", fmt::join(in_words(inspected.verdicts, inspected.heads.size(), kPrintedVerdicts), "\n"));
  if (inspected.kept) print(*inspected.kept);
}

nlohmann::json to_json(const Inspected& inspected) {
  nlohmann::json json = {{"heads", to_json(inspected.heads)},
                         {"means", to_json(mean_over_heads(inspected.heads))},
                         {"verdicts", to_json(inspected.verdicts)},
                         {"data", inspected.data}};
  if (inspected.kept) json["kept_layers"] = to_json(*inspected.kept);
  return json;
}

void write_report(const InspectOptions& options, const std::vector<Inspected>& all) {
  FidelityReport report;
  report.title = all.size() == 1 ? all.front().model : fmt::format("{} attentions compared", all.size());
  report.subtitle = "Each head against softmax, on " + all.front().text;
  for (const Inspected& one : all) report.models.push_back(reported_model(one.model, one.heads, one.verdicts, one.more));
  write_fidelity_report(options.output, report);
}

void run_inspect(const InspectOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  const std::unique_ptr<Progress> progress = make_progress();
  TaskConfig asked = options.task;
  asked.data = options.data.size() == 1 ? options.data.front() : std::filesystem::path();
  std::vector<Inspected> all;
  for (const std::string& model : options.models) {
    const auto task = measured_task(model, asked);
    all.push_back(task ? inspect_task(options, model, *task, *progress) : inspect_text(options, model, *progress));
  }
  if (!options.output.empty()) write_report(options, all);
  if (options.common.json) {
    nlohmann::json fields = to_json(all.front());
    for (const Inspected& one : all) {
      if (all.size() == 1) break;
      fields["models"].push_back(to_json(one));
      fields["models"].back()["model"] = one.model;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return print_json("inspect", options.models.front(), options.common, seconds, std::move(fields));
  }
  for (const Inspected& one : all) {
    if (all.size() > 1) fmt::print("\n{}\n", one.model);
    print(one);
  }
  if (!options.output.empty()) fmt::print("\n{}\n", (options.output / "report.html").string());
}

}  // namespace

void add_inspect(CLI::App& program) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* verb = program.add_subcommand("inspect", "Compare each head's attention with softmax on the same queries and keys");
  verb->add_option("model", options->models, "checkpoints, adapters, exported directories, or classifiers, to be compared")
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
  verb->add_option(
          "--memory", options->memory,
          "of a converted language model: also which layers, and key/value heads of them, to put back to softmax so that it "
          "keeps so much")
      ->type_name("BYTES@TOKENS");
  verb->add_flag("--whole-layers", options->whole_layers, "with --memory: layers alone");
  CLI::Option* output = verb->add_option("-o,--output", options->output, "write report.html, report.md and report.json there");
  output->type_name("DIR");
  verb->add_option("--text", options->text, "in the report: whose attention is shown; by default the data's beginning")
      ->type_name("TEXT")
      ->needs(output);
  verb->add_option("--map-tokens", options->map_tokens,
                   "in the report: of that text, fewer where the page would be too large; 0: no attention is shown")
      ->check(CLI::Range(std::int64_t{0}, kMostMapTokens))
      ->capture_default_str()
      ->needs(output);
  verb->add_option("--prompt", options->prompts, "in the report: what the models write after it; may be given again")
      ->type_name("TEXT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->needs(output);
  verb->add_option("--sample-tokens", options->sample_tokens, "in the report: most tokens that they write")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->needs(output);
  verb->add_option("--contexts", options->contexts, "in the report: lengths at which speed and memory are measured")
      ->type_name("N,...")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->needs(output);
  add_common_options(*verb, options->common);
  verb->callback([options] { run_inspect(*options); });
}

}  // namespace hedgehog::cli

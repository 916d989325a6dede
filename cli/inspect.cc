// hedgehog inspect MODEL: per layer and head, how the converted attention differs from softmax.
#include "cli/command.h"
#include "cli/model_data.h"
#include "hedgehog/analysis/fidelity.h"
#include "hedgehog/base/error.h"

#include <array>
#include <chrono>

namespace hedgehog::cli {
namespace {

struct InspectOptions {
  CommonOptions common;
  std::string model;
  std::vector<std::filesystem::path> data;
  std::int64_t sequences = 4, length = 512;
  bool join = false;
};

struct Column {
  const char* key;
  const char* title;
  double HeadFidelity::*value;
};

constexpr std::array kColumns = {
    Column{"entropy_softmax", "entropy, softmax", &HeadFidelity::entropy_softmax},
    Column{"entropy_linear", "entropy, linear", &HeadFidelity::entropy_linear},
    Column{"kl", "KL", &HeadFidelity::kl},
    Column{"monotonicity", "monotonicity", &HeadFidelity::monotonicity},
    Column{"linear_share", "linear share", &HeadFidelity::linear_share},
    Column{"output_error", "output error", &HeadFidelity::output_error},
};

HeadFidelity mean_of(const std::vector<HeadFidelity>& heads) {
  HeadFidelity mean;
  for (const Column& column : kColumns) {
    for (const HeadFidelity& head : heads) mean.*column.value += head.*column.value / static_cast<double>(heads.size());
  }
  return mean;
}

void print_row(const std::string& layer, const std::string& head, const HeadFidelity& values) {
  fmt::print("{:>5} {:>5}", layer, head);
  for (const Column& column : kColumns) fmt::print(" {:>17.4f}", values.*column.value);
  fmt::print("\n");
}

void print_table(const std::vector<HeadFidelity>& heads) {
  fmt::print("{:>5} {:>5}", "layer", "head");
  for (const Column& column : kColumns) fmt::print(" {:>17}", column.title);
  fmt::print("\n");
  for (const HeadFidelity& head : heads) print_row(std::to_string(head.layer), std::to_string(head.head), head);
  print_row("mean", "", mean_of(heads));
}

nlohmann::json to_json(const HeadFidelity& values) {
  nlohmann::json json;
  for (const Column& column : kColumns) json[column.key] = values.*column.value;
  return json;
}

nlohmann::json to_json(const std::vector<HeadFidelity>& heads) {
  nlohmann::json list = nlohmann::json::array();
  for (const HeadFidelity& head : heads) {
    nlohmann::json item = to_json(head);
    item["layer"] = head.layer;
    item["head"] = head.head;
    list.push_back(std::move(item));
  }
  return list;
}

void run_inspect(const InspectOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  const LoadedModel loaded = load_model(options.model, compute_dtype(options.common));
  Corpus corpus = measured_corpus(loaded, options.data, options.sequences * options.length);
  if (options.join) corpus.document_starts.resize(1);
  const std::unique_ptr<Progress> progress = make_progress();
  const std::vector<HeadFidelity> heads = fidelity(loaded.model, corpus, options.sequences, options.length, *progress);
  if (!options.common.json) return print_table(heads);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  print_json("inspect", options.model, options.common, seconds,
             {{"heads", to_json(heads)}, {"means", to_json(mean_of(heads))}, {"data", corpus.description}});
}

}  // namespace

void add_inspect(CLI::App& program) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* verb = program.add_subcommand("inspect", "Compare each head's attention with softmax on the same queries and keys");
  verb->add_option("model", options->model, "a checkpoint, an adapter or an exported directory")
      ->required()
      ->type_name("MODEL");
  verb->add_option("--data", options->data, "text files, JSON lines or folders")->required()->type_name("FILE...");
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

// hedgehog bench: what linear attention costs on this machine, beside softmax and beside what other programs need.
#include "cli/bench_report.h"
#include "cli/command.h"
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/benchmark/machine.h"
#include "hedgehog/benchmark/model_speed.h"
#include "hedgehog/benchmark/peak_memory.h"
#include "hedgehog/models/adapter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace hedgehog::cli {
namespace {

constexpr std::int64_t kLongest = std::int64_t{1} << 30;
// A model's prompt is its attention many times over.
constexpr double kModelPatience = 10;
constexpr const char* kAllMaps = "all";
const std::vector<std::string> kModelWorks = {"prefill", "generate"};

struct BenchOptions {
  CommonOptions common;
  std::vector<std::string> what, dtypes, maps;
  std::vector<std::int64_t> lengths;
  std::string shape = "smollm2", model, json;
  std::filesystem::path plot, opponents;
  std::int64_t batch = 1;
  MeasureConfig measure;
};

/// What is going to be measured, checked.
struct BenchPlan {
  std::vector<AttentionProblem> problems;  // those of one kind of work and dtype by growing length
  std::vector<at::ScalarType> dtypes;
  std::vector<std::int64_t> model_lengths;
  bool prefill = false, generate = false;

  std::size_t steps() const { return problems.size() + model_lengths.size() * dtypes.size(); }
};

bool asks_for(const BenchOptions& options, const std::string& what) {
  return std::find(options.what.begin(), options.what.end(), what) != options.what.end();
}

std::vector<std::int64_t> lengths_from(const BenchOptions& options, std::int64_t least, std::int64_t most) {
  std::vector<std::int64_t> lengths = options.lengths;
  for (std::int64_t n = least; options.lengths.empty() && n <= most; n *= 2) lengths.push_back(n);
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

std::vector<at::ScalarType> dtypes_of(const BenchOptions& options) {
  const auto asked = [&](const char* name) {
    return std::find(options.dtypes.begin(), options.dtypes.end(), name) != options.dtypes.end();
  };
  std::vector<at::ScalarType> dtypes;
  if (options.dtypes.empty() || asked("fp32")) dtypes.push_back(at::kFloat);
  if (asked("bf16") || (options.dtypes.empty() && bf16_is_fast())) dtypes.push_back(at::kBFloat16);
  return dtypes;
}

void check_memory(const AttentionProblem& problem) {
  const double needed = input_bytes(problem) + output_bytes(problem) + forms_of(problem).front().bytes;
  constexpr double kGibibyte = 1 << 30;
  check(needed <= available_memory(),
        "--lengths {}: {} in {} at batch {} needs about {:.1f} GiB, {:.1f} GiB are free; give a smaller length or --batch",
        problem.length, to_string(problem.work), dtype_name(problem.dtype), problem.batch, needed / kGibibyte,
        available_memory() / kGibibyte);
}

HeadShape shape_named(const std::string& name) {
  const std::vector<HeadShape>& shapes = head_shapes();
  return *std::find_if(shapes.begin(), shapes.end(), [&](const HeadShape& shape) { return shape.name == name; });
}

BenchPlan plan_of(const BenchOptions& options, Progress& progress) {
  BenchPlan plan;
  plan.dtypes = dtypes_of(options);
  const bool with_model = !options.model.empty(), all = options.what.empty();
  plan.prefill = asks_for(options, "prefill") || (all && with_model);
  plan.generate = asks_for(options, "generate") || (all && with_model);
  check(with_model || !(plan.prefill || plan.generate), "--what {}: give the model that it is to be measured on by --model",
        plan.prefill ? "prefill" : "generate");
  check(!with_model || plan.prefill || plan.generate, "--model: --what asks for nothing of it; prefill and generate do");
  for (const Work work : all_works()) {
    if (!asks_for(options, to_string(work)) && (!all || with_model)) continue;
    for (const at::ScalarType dtype : plan.dtypes) {
      for (const std::int64_t length : lengths_from(options, 128, 32768)) {
        const AttentionProblem problem{shape_named(options.shape), work, options.batch, length, dtype, options.maps};
        check(is_possible(problem) || all, "--what {}: the attention of {} is bidirectional, which is only measured whole",
              to_string(work), options.shape);
        if (!is_possible(problem)) continue;
        check_memory(problem);
        plan.problems.push_back(problem);
      }
    }
  }
  if (plan.prefill || plan.generate) plan.model_lengths = lengths_from(options, 512, 32768);
  // Not before: what is refused is refused in one line.
  if (options.dtypes.empty() && !bf16_is_fast()) {
    progress.message("bf16 is left out: this machine has no instructions for it; --dtype bf16 measures it all the same");
  }
  return plan;
}

/// Fails now rather than after minutes of measuring.
void check_writable(const std::filesystem::path& path) {
  if (!path.empty() && path != "-") AtomicFile{path};
}

double probed_rate(const MachineProbe& probe, const MeasureConfig& config) {
  probe.call();
  return probe.amount / best_seconds(probe.call, config.seconds * config.rounds);
}

void measure_models(const BenchOptions& options, const BenchPlan& plan, Progress& progress, std::int64_t& done,
                    BenchReport& report) {
  MeasureConfig config = options.measure;
  config.longest_seconds *= kModelPatience;
  CallLimit limit(config.longest_seconds);
  for (const at::ScalarType dtype : plan.dtypes) {
    const LoadedModel loaded = load_model(options.model, dtype);
    const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(loaded.checkpoint.tokenizer);
    const Decoder linear = linear_form(loaded.model), softmax = loaded.model.teacher();
    for (const std::int64_t length : plan.model_lengths) {
      progress.update(done++, fmt::format("model {} {}", dtype_name(dtype), length));
      for (MeasuredCase& measured :
           measure_model(linear, softmax, *tokenizer, length, config, report.product_rate(dtype), limit)) {
        if (measured.what == "prefill" ? plan.prefill : plan.generate) report.cases.push_back(std::move(measured));
      }
    }
  }
}

void measure_all(const BenchOptions& options, const BenchPlan& plan, Progress& progress, BenchReport& report) {
  progress.begin("measuring", static_cast<std::int64_t>(plan.steps()));
  progress.update(0, "the machine");
  for (const at::ScalarType dtype : plan.dtypes) {
    report.product_rates[dtype] = probed_rate(product_probe(dtype), options.measure);
  }
  report.copy_rate = probed_rate(copy_probe(), options.measure);
  CallLimit limit(options.measure.longest_seconds);
  std::int64_t done = 0;
  for (const AttentionProblem& problem : plan.problems) {
    progress.update(done++, fmt::format("{} {} {}", to_string(problem.work), dtype_name(problem.dtype), problem.length));
    report.cases.push_back(measure_attention(problem, options.measure, report.product_rate(problem.dtype), limit));
  }
  if (!plan.model_lengths.empty()) measure_models(options, plan, progress, done, report);
  progress.update(done, "");
  report.complete = true;
}

void write_outputs(const BenchOptions& options, const BenchReport& report, double seconds) {
  nlohmann::ordered_json object = {{"command", "bench"}, {"model", options.model}, {"seed", options.common.seed}};
  object["seconds"] = seconds;
  object.update(bench_fields(report));
  const std::string text = object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (!options.json.empty() && options.json != "-") write_text_file(options.json, text);
  if (!options.plot.empty() && !report.cases.empty()) write_text_file(options.plot, bench_plot(report));
  fmt::print("{}", options.json == "-" ? text : bench_table(report));
  std::fflush(stdout);
}

void run_bench(const BenchOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  const std::unique_ptr<Progress> progress = make_progress();
  const std::vector<OtherTime> others =
      options.opponents.empty() ? std::vector<OtherTime>{} : read_opponents(options.opponents);
  const BenchPlan plan = plan_of(options, *progress);
  check_writable(options.json);
  check_writable(options.plot);
  BenchReport report;
  report.machine = machine_fields();
  report.machine["cores"] = std::thread::hardware_concurrency();
  report.shape = shape_named(options.shape);
  report.batch = options.batch;
  report.model = options.model;
  bool stopped = false;
  try {
    measure_all(options, plan, *progress, report);
  } catch (const Interrupted&) {
    stopped = true;  // what has been measured is not lost
  }
  progress->end();
  const std::size_t merged = merge_opponents(others, report.cases);
  if (merged < others.size()) {
    progress->message(fmt::format("{}: {} of {} measurements are of cases that were not measured here",
                                  options.opponents.string(), others.size() - merged, others.size()));
  }
  write_outputs(options, report, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  if (stopped) throw Interrupted{};
}

std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  for (const HeadShape& shape : head_shapes()) names.push_back(shape.name);
  return names;
}

std::vector<std::string> work_names() {
  std::vector<std::string> names;
  for (const Work work : all_works()) names.push_back(to_string(work));
  names.insert(names.end(), kModelWorks.begin(), kModelWorks.end());
  return names;
}

}  // namespace

void add_bench(CLI::App& program) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* verb = program.add_subcommand("bench", "Measure speed and memory on this machine, beside softmax attention");
  verb->add_option(
          "--what", options->what,
          "forward, train (forward and backward), distill, decode (one token), of attention alone; prefill, generate of "
          "--model; by default all of one or the other")
      ->check(CLI::IsMember(work_names()))
      ->delimiter(',')
      ->type_name("WHAT...");
  verb->add_option("--shape", options->shape, "whose heads attention alone has: smollm2, llama3, bert, one-head")
      ->check(CLI::IsMember(shape_names()))
      ->capture_default_str();
  verb->add_option("--lengths", options->lengths, "in tokens; by default 128 to 32768, of a model 512 to 32768, doubling")
      ->check(CLI::Range(std::int64_t{1}, kLongest).description(""))
      ->delimiter(',')
      ->type_name("N...");
  verb->add_option("--batch", options->batch, "sequences at a time, of attention alone")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{4096}).description(""))
      ->type_name("N")
      ->capture_default_str();
  verb->add_option("--maps", options->maps, "feature maps to be measured beside hedgehog-softmax, of attention alone; or all")
      ->check(CLI::Validator([](const std::string& name) { return name == kAllMaps ? std::string() : unknown_map(name); }, ""))
      ->delimiter(',')
      ->type_name("MAP...");
  verb->add_option("--dtype", options->dtypes, "fp32, bf16; by default both, bf16 where this machine multiplies it")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->delimiter(',')
      ->type_name("DTYPE...");
  verb->add_option("--model", options->model,
                   "a checkpoint, an adapter or an exported directory: measure the whole model, with "
                   "softmax and with linear attention")
      ->type_name("MODEL");
  verb->add_option("--seconds", options->measure.seconds, "of each measurement in each round, at least one call")
      ->check(CLI::Range(0.0, 3600.0).description(""))
      ->capture_default_str();
  verb->add_option("--rounds", options->measure.rounds, "in which all forms have their turn; the best call counts")
      ->check(CLI::Range(1, 1000).description(""))
      ->capture_default_str();
  verb->add_option("--limit", options->measure.longest_seconds,
                   "leave out (\"-\") calls that would take more seconds, ten times as many for a model's")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--opponents", options->opponents,
                   R"(times of other programs: {"opponents": [{"who", "what", "n", "dtype", "milliseconds"}, ...]})")
      ->type_name("FILE");
  verb->add_option("--json", options->json, "write all numbers to FILE; -, or no FILE: print them instead of the table")
      ->expected(0, 1)
      ->type_name("FILE");
  verb->add_option("--plot", options->plot, "write an SVG picture of time and memory against the length")->type_name("FILE");
  add_machine_options(*verb, options->common);
  verb->callback([options, verb] {
    if (verb->count("--json") > 0 && options->json.empty()) options->json = "-";
    if (options->maps == std::vector<std::string>{kAllMaps}) {
      options->maps = feature_map_names();
      std::erase(options->maps, "hedgehog-softmax");
    }
    run_bench(*options);
  });
}

}  // namespace hedgehog::cli

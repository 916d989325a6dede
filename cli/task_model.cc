#include "cli/task_model.h"

#include "hedgehog/analysis/fidelity.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_file.h"
#include "hedgehog/evaluation/task_score.h"
#include "hedgehog/training/classification.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

namespace hedgehog::cli {
namespace {

constexpr std::size_t kMostConfig = std::size_t{1} << 20;  // bytes of a config.json
constexpr std::int64_t kFidelityBatch = 16;

// A configuration for a model from scratch, with what the task decides where it leaves it out.
nlohmann::json completed(nlohmann::json config, const Task& task) {
  check(config.is_object(), "the model's configuration should be a JSON object");
  const auto put = [&](const char* key, std::int64_t value) {
    if (!config.contains(key)) config[key] = value;
  };
  put("vocab_size", task.vocabulary);
  put("num_labels", task.labels);
  put("max_position_embeddings", task.length);
  put("n_positions", task.length);
  if (task.pairs) config["pair_classifier"] = true;
  if (task.images) {
    put("image_size", task.length);
    put("num_channels", task.channels);
  }
  return config;
}

}  // namespace

TaskModel open_task_model(const std::string& model, const TaskConfig& task, std::uint64_t seed, bool new_classifier) {
  TaskModel result;
  const std::filesystem::path path = model;
  const bool scratch = path.extension() == ".json";
  if (!scratch) result.checkpoint = open_checkpoint(path);
  if (task_needs_tokenizer(task.name)) {
    check(result.checkpoint.has_value(), "--task {}: its texts need a model with a tokenizer, not a configuration alone",
          task.name);
    result.tokenizer = make_tokenizer(result.checkpoint->tokenizer);
  }
  result.task = open_task(task, result.tokenizer.get());
  if (scratch) {
    result.model = make_classifier(completed(read_json_object(path.string(), kMostConfig), result.task), seed);
  } else {
    result.model = load_classifier(*result.checkpoint, new_classifier ? result.task.labels : 0, seed);
  }
  const bool pairs = result.model->config().value("pair_classifier", false);
  check(pairs == result.task.pairs, "{}: is a classifier of {}, and the task's examples are {}", model,
        pairs ? "pairs" : "single texts or images", result.task.pairs ? "pairs of texts: train one from a config.json" : "not");
  check(result.model->labels() == result.task.labels, "{}: gives {} labels, and the task has {}", model, result.model->labels(),
        result.task.labels);
  return result;
}

nlohmann::json describe(const TaskConfig& task) {
  return {{"length", task.length}, {"training", task.training}, {"evaluation", task.evaluation}, {"seed", task.seed}};
}

std::optional<TaskConfig> measured_task(const std::string& model, TaskConfig asked) {
  const std::filesystem::path file = std::filesystem::path(model) / "config.json";
  nlohmann::json said;
  if (std::filesystem::exists(file)) said = read_json_object(file.string(), kMostConfig).value("hedgehog", nlohmann::json());
  const bool trained = said.is_object() && said.contains("task") && said["task"].is_string();
  if (asked.name.empty() && !trained) return std::nullopt;
  if (asked.name.empty()) asked.name = said["task"].get<std::string>();
  if (!trained || said["task"] != asked.name) return asked;
  const auto numbers = said.value("examples", nlohmann::json::object());
  const auto take = [&](const char* key, auto& value) {
    if (value == 0 && numbers.is_object() && numbers.contains(key) && numbers[key].is_number_unsigned()) value = numbers[key];
  };
  take("length", asked.length);
  take("training", asked.training);
  take("evaluation", asked.evaluation);
  take("seed", asked.seed);
  return asked;
}

bool has_linear_part(Classifier& model) {
  const auto attentions = model.attentions();
  return std::any_of(attentions.begin(), attentions.end(),
                     [](const Attention* a) { return a->config().kind != AttentionKind::kSoftmax; });
}

std::vector<HeadFidelity> task_heads(TaskModel& job, std::int64_t examples, Progress& progress) {
  const Examples& evaluation = *job.task.evaluation;
  return fidelity(*job.model, evaluation, std::min(examples, evaluation.size()), kFidelityBatch, progress);
}

ScoredTask score_task(TaskModel& job, std::int64_t batch, std::int64_t fidelity_examples, Progress& progress) {
  const Examples& examples = *job.task.evaluation;
  const TaskScore score = task_score(job.task, predict(*job.model, examples, batch, progress));
  ScoredTask scored;
  scored.fields = {{"task", job.task.name},
                   {"score", score.mean},
                   {"metrics", score.metrics},
                   {"half_interval", score.half_intervals},
                   {"examples", examples.size()}};
  if (has_linear_part(*job.model) && fidelity_examples > 0) {
    scored.heads = task_heads(job, fidelity_examples, progress);
    scored.fields["fidelity"] = to_json(mean_over_heads(scored.heads));
  }
  return scored;
}

void print_task_score(const nlohmann::json& fields) {
  for (const auto& [name, value] : fields.at("metrics").items()) {
    fmt::print("{:<24}{:>10.4f} ± {:.4f}\n", name, value.get<double>(), fields.at("half_interval").at(name).get<double>());
  }
  const auto line = [](const char* name, double value) { fmt::print("{:<24}{:>10.4f}\n", name, value); };
  if (!fields.contains("fidelity")) return;
  line("KL(softmax || linear)", fields["fidelity"]["kl"].get<double>());
  line("monotonicity", fields["fidelity"]["monotonicity"].get<double>());
}

}  // namespace hedgehog::cli

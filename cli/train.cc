// hedgehog train MODEL --task NAME -o DIR: a classifier on labelled examples. From scratch (MODEL is a config.json), finetuned,
// or converted on the way: attention swapped, distilled on the task's own examples, finetuned.
#include "cli/command.h"
#include "cli/fidelity_report.h"
#include "cli/kept_softmax.h"
#include "cli/maps_source.h"
#include "cli/task_model.h"
#include "cli/train_language.h"
#include "hedgehog/analysis/fidelity.h"
#include "hedgehog/analysis/kept_heads.h"
#include "hedgehog/analysis/verdicts.h"
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_file.h"
#include "hedgehog/data/tasks.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/training/classification.h"
#include "hedgehog/training/training_run.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKeptHeadsFile = "kept_heads.json";
constexpr std::size_t kMostKeptHeads = std::size_t{1} << 20;       // bytes of it
constexpr std::int64_t kMatchedExamples = 64, kMatchedBatch = 16;  // on which heads are matched with those of --maps-from

struct TrainOptions {
  CommonOptions common;
  std::string model;
  fs::path output;
  TaskConfig task;

  std::string attention;  // empty: what the model has
  AttentionConfig attention_config;
  std::vector<KeptSoftmax> keep_softmax;
  std::int64_t keep_heads = 0;  // so many, chosen after the distillation
  MapsSource maps;
  double distillation_epochs = 0;
  DistillationConfig distillation;
  ClassificationConfig training;
  std::string schedule = "cosine";
  std::int64_t fidelity_examples = 64;
  LanguageOptions language;

  bool resume = false;
  double save_minutes = 5;
};

/// --keep-softmax auto: chosen on the training examples when the maps are distilled; a resumed run finds what was chosen.
void choose_heads(const TrainOptions& options, TaskModel& job, Progress& progress) {
  const fs::path file = options.output / kKeptHeadsFile;
  if (fs::exists(file)) return keep_heads(*job.model, kept_heads(read_json_object(file.string(), kMostKeptHeads)));
  const KeptHeads kept = keep_heads(*job.model, *job.task.training, {options.keep_heads}, progress);
  fs::create_directories(options.output);
  write_text_file(file, to_json(kept).dump(1) + "\n");
}

std::vector<StageMaker> stages_of(const TrainOptions& options, TaskModel& job, Progress& progress) {
  std::vector<StageMaker> stages;
  if (options.distillation_epochs > 0) {
    stages.push_back([&] {
      return classifier_distillation(*job.model, *job.task.training, options.distillation_epochs, options.distillation,
                                     options.common.seed * 16, options.training.dtype);
    });
  }
  if (options.training.epochs > 0) {
    stages.push_back([&] {
      if (options.keep_heads > 0) choose_heads(options, job, progress);
      return std::make_unique<ClassificationStage>(*job.model, *job.task.training, options.training, "training",
                                                   options.common.seed * 16 + 15);
    });
  }
  return stages;
}

nlohmann::json recipe_of(const TrainOptions& options, const TaskModel& job) {
  nlohmann::json recipe = {{"task", job.task.name},
                           {"attention", to_json(job.model->attentions().front()->config())},
                           {"keep_softmax", options.keep_softmax},
                           {"dtype", dtype_name(options.training.dtype)},
                           {"seed", options.common.seed}};
  if (options.task.augmented > 0) recipe["augmented"] = options.task.augmented;
  if (options.keep_heads > 0) recipe["keep_heads"] = options.keep_heads;
  if (options.maps.given()) recipe["maps_from"] = to_json(options.maps);
  if (options.distillation_epochs > 0) {
    recipe["distillation"] = to_json(options.distillation);
    recipe["distillation"]["epochs"] = options.distillation_epochs;
  }
  if (options.training.epochs > 0) recipe["training"] = to_json(options.training);
  return recipe;
}

void print_kept_heads(const nlohmann::json& json) {
  const KeptHeads kept = kept_heads(json);
  std::vector<std::string> names;
  for (const KeptHead& head : kept.heads) names.push_back(to_string(head.what));
  fmt::print("softmax is kept in {}: distance from the softmax model's predictions {:.4f}, without {:.4f}\n",
             names.empty() ? "no head" : fmt::format("heads {}", fmt::join(names, ", ")),
             kept.heads.empty() ? kept.distance : kept.heads.back().distance, kept.distance);
}

void train_language(const TrainOptions& options) {
  check(options.training.teacher_factor == 0 && options.training.hidden_factor == 0,
        "--teacher-logits and --match-hidden are for a task (--task); 'hedgehog convert' has both for language models");
  check(options.task.augmented == 0, "--augment is for a task (--task)");
  check(!options.maps.given(), "--maps-from is for a task (--task); 'hedgehog convert' has it for language models");
  check(options.keep_heads == 0,
        "--keep-softmax auto:N is for a task (--task); 'hedgehog convert' has auto:MEMORY for language models");
  LanguageOptions language = options.language;
  FinetuningConfig& train = language.training;
  train.batch = options.training.batch;
  if (options.task.length > 0) train.length = options.task.length;
  train.learning_rate = options.training.learning_rate;
  train.map_learning_rate = options.training.map_learning_rate;
  train.weight_decay = options.training.weight_decay;
  train.clip = options.training.clip;
  train.schedule = options.training.schedule;
  const std::int64_t tokens_a_step = train.batch * train.length, steps = (train.tokens + tokens_a_step - 1) / tokens_a_step;
  train.warmup = std::llround(options.training.warmup * static_cast<double>(steps));
  if (!options.task.data.empty()) language.data = {options.task.data};
  train_language_model(
      {options.model, options.output, options.attention_config, options.keep_softmax, options.resume, options.save_minutes},
      language, options.common);
}

/// report.html, report.md and report.json, with the heads of before and between the stages that `report` has already.
void write_report(const TrainOptions& options, const TaskModel& job, const ScoredTask& scored, FidelityReport& report) {
  const nlohmann::json more = {{"scores", {{job.task.name, scored.fields.at("score")}}}};
  report.models.push_back(reported_model("trained", scored.heads, verdicts(scored.heads, /*window=*/0), more));
  report.title = options.model + " on " + job.task.name;
  report.subtitle = fmt::format("Each head against softmax, on {} examples of {}",
                                std::min(options.fidelity_examples, job.task.evaluation->size()), job.task.name);
  write_fidelity_report(options.output, report);
}

void run_train(TrainOptions options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  const std::unique_ptr<Progress> progress = make_progress();
  options.training.schedule = schedule(options.schedule);
  options.training.dtype = compute_dtype(options.common);
  if (!options.attention.empty()) options.attention_config.kind = attention_kind(options.attention);
  if (options.task.name.empty()) return train_language(options);
  const ClassificationConfig& training = options.training;
  check(options.task.augmented == 0 || training.epochs == 0 || training.teacher_factor > 0 || training.hidden_factor > 0,
        "--augment: the examples that it makes have no labels; --teacher-logits 1, --match-hidden 10 or both let the softmax "
        "model teach them");
  TaskModel job = open_task_model(options.model, options.task, options.common.seed, /*new_classifier=*/true);
  if (!options.attention.empty()) job.model->set_attention(options.attention_config, options.keep_softmax);
  const bool has_maps = options.distillation_epochs > 0 || options.attention.empty();
  check(options.keep_heads == 0 || (has_linear_part(*job.model) && has_maps),
        "--keep-softmax auto:{}: chooses heads after a distillation; give it a distilled model, or --attention linear and "
        "--distill-epochs, or name the heads",
        options.keep_heads);
  take_maps(options.maps, job.model->attentions(), [&] {
    const Examples& examples = *job.task.training;
    return fidelity(*job.model, examples, std::min(kMatchedExamples, examples.size()), kMatchedBatch, *progress);
  });
  nlohmann::json identity = {{"recipe", recipe_of(options, job)}, {"examples", job.task.training->sha256()}};
  if (job.checkpoint) identity["base"] = checkpoint_sha256(job.checkpoint->path);
  TrainingRun run{options.output, identity, options.resume, 0, options.save_minutes};
  run.counted = "examples";
  const bool reported = has_linear_part(*job.model) && options.fidelity_examples > 0;
  const auto heads = [&] { return task_heads(job, options.fidelity_examples, *progress); };
  if (reported) run.measure = [&] { return reported_model("", heads(), {}); };
  if (options.keep_heads > 0 && !options.resume) fs::remove(options.output / kKeptHeadsFile);
  const std::vector<StageMaker> stages = stages_of(options, job, *progress);
  FidelityReport report;
  if (reported) report.models.push_back(reported_model("before training", heads(), {}));
  nlohmann::json reports = stages.empty() ? nlohmann::json::array() : run_stages(stages, run, *progress);
  for (nlohmann::json& stage : reports) take_measured(stage, report);
  if (options.keep_heads > 0 && options.training.epochs == 0) choose_heads(options, job, *progress);

  const ScoredTask scored = score_task(job, options.training.batch, options.fidelity_examples, *progress);
  nlohmann::json fields = scored.fields;
  fields["recipe"] = identity["recipe"];
  fields["training"] = reports;
  fields["output"] = options.output.string();
  if (options.keep_heads > 0) {
    fields["kept_heads"] = read_json_object((options.output / kKeptHeadsFile).string(), kMostKeptHeads);
  }
  nlohmann::json description = {{"task", job.task.name},
                                {"examples", describe(options.task)},
                                {"metrics", fields["metrics"]},
                                {"recipe", identity["recipe"]}};
  if (job.checkpoint)
    description["base"] = {{"path", fs::weakly_canonical(job.checkpoint->path).string()}, {"sha256", identity["base"]}};
  write_classifier(options.output, *job.model, description);
  if (job.checkpoint && job.tokenizer) write_tokenizer(job.checkpoint->tokenizer, options.output);
  if (reported) write_report(options, job, scored, report);
  if (!stages.empty()) finish_run(run);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.common.json) return print_json("train", options.model, options.common, seconds, fields);
  print_task_score(fields);
  if (options.keep_heads > 0) print_kept_heads(fields["kept_heads"]);
  fmt::print("{} has the model\n", options.output.string());
}

}  // namespace

void add_train(CLI::App& program) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* verb = program.add_subcommand("train", "Train a model from scratch, or finetune or convert one on a task");
  verb->add_option("model", options->model, "a BERT, ViT, GPT-2 or Llama checkpoint, or a config.json to train from scratch")
      ->required()
      ->type_name("MODEL");
  verb->add_option("-o,--output", options->output, "where the model goes")->required()->type_name("DIR");
  const std::string task = "Task";
  verb->add_option("--task", options->task.name, fmt::format("{}", fmt::join(task_names(), ", ")))->group(task);
  verb->add_option("--data", options->task.data, "folder with the task's files; a language model's text")
      ->type_name("PATH")
      ->group(task);
  const auto count = [&](const char* flag, std::int64_t& value, const char* help, const std::string& group) {
    verb->add_option(flag, value, help)->check(CLI::NonNegativeNumber)->capture_default_str()->group(group);
  };
  const auto number = [&](const char* flag, double& value, const char* help, const std::string& group) {
    return verb->add_option(flag, value, help)->check(CLI::NonNegativeNumber)->capture_default_str()->group(group);
  };
  count("--length", options->task.length, "most tokens of an example, 0: the task's own", task);
  count("--examples", options->task.training, "to train on, 0: all", task);
  count(
      "--augment", options->task.augmented,
      "examples more, made of the training texts by dropping and exchanging words and pairing texts anew; they have no labels, "
      "the softmax model teaches them",
      task);
  count("--eval-examples", options->task.evaluation, "to measure on, 0: all", task);
  verb->add_option("--data-seed", options->task.seed, "of what is generated or picked")->capture_default_str()->group(task);

  const std::string attention = "Attention";
  AttentionConfig& config = options->attention_config;
  verb->add_option("--attention", options->attention, "softmax or linear; without it what the model has")
      ->check(CLI::IsMember({"softmax", "linear", "hybrid"}))
      ->group(attention);
  verb->add_option("--map", config.feature_map, fmt::format("feature map: {}", fmt::join(feature_map_names(), ", ")))
      ->capture_default_str()
      ->group(attention);
  count("--map-dim", config.feature_dim, "rows of the map's matrix, 0 for the head's dimension", attention);
  count("--window", config.window, "last keys that a hybrid attends to exactly", attention);
  add_kept_softmax(*verb, options->keep_softmax,
                   "layers, or key/value heads of them, that keep softmax: 3,7.2; or auto:N, up to N heads, chosen after the "
                   "distillation by what each brings back",
                   &options->keep_heads)
      ->group(attention);
  add_maps_source(*verb, options->maps, attention);

  const std::string distillation = "Distillation";
  DistillationConfig& distil = options->distillation;
  distil.batch = 16;
  number("--distill-epochs", options->distillation_epochs, "passes over the examples, 0: none", distillation);
  count("--distill-batch", distil.batch, "examples of a batch", distillation);
  count("--distill-updates", distil.updates, "steps a batch, each on its share of the queries", distillation);
  number("--distill-lr", distil.learning_rate, "learning rate", distillation);
  number("--distill-weights", distil.weights_factor, "factor of the weights' cross-entropy", distillation);
  number("--distill-outputs", distil.output_factor, "factor of the outputs' error", distillation);

  const std::string training = "Training";
  ClassificationConfig& train = options->training;
  number("--epochs", train.epochs, "passes over the examples, 0: none", training);
  count("--batch", train.batch, "examples a step", training);
  number("--lr", train.learning_rate, "learning rate", training);
  number("--map-lr", train.map_learning_rate, "of the attention's own weights, 0: frozen", training);
  number("--weight-decay", train.weight_decay, "of matrices", training);
  number("--teacher-logits", train.teacher_factor, "share of the loss that is the softmax model's logits", training)
      ->check(CLI::Range(0.0, 1.0));
  number("--match-hidden", train.hidden_factor, "factor of the hidden states' error against the softmax model", training);
  number("--clip", train.clip, "most that the gradient's norm may be, 0: no clipping", training);
  number("--warmup", train.warmup, "share of the steps", training);
  verb->add_option("--schedule", options->schedule, "constant, cosine, one-cycle")->capture_default_str()->group(training);
  count("--fidelity-examples", options->fidelity_examples, "on which a converted model is compared with softmax", training);
  verb->add_flag("--resume", options->resume, "go on where a stopped run was saved")->group(training);
  number("--save-minutes", options->save_minutes, "between saved states, 0: at the end of a stage", training);
  add_language_options(*verb, options->language);
  add_common_options(*verb, options->common);
  verb->callback([options] { run_train(*options); });
}

}  // namespace hedgehog::cli

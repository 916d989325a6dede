#include "hedgehog/training/classification.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/training/hidden_states.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

namespace hedgehog {
namespace {

std::int64_t steps_of(double epochs, const ExampleOrder& order) {
  return std::max<std::int64_t>(1, std::llround(epochs * static_cast<double>(order.steps_an_epoch())));
}

// A mean over the rows that have a label; 0 where none has one.
at::Tensor loss_of(const at::Tensor& logits, const at::Tensor& labels) {
  const at::Tensor labelled = labels.ne(kNoLabel), count = labelled.sum().clamp_min(1);
  if (labels.scalar_type() == at::kLong) {
    return at::cross_entropy_loss(logits.to(at::kFloat), labels, {}, at::Reduction::Sum) / count;
  }
  return ((logits.to(at::kFloat).squeeze(-1) - labels) * labelled).square().sum() / count;
}

void check_labels(const Classifier& model, const Examples& examples, bool taught) {
  auto labels = examples.labels();
  check(!labels.empty(), "there are no examples");
  check(std::erase(labels, kNoLabel) == 0 || taught,
        "examples without labels teach nothing alone: give the softmax model's logits or hidden states a share of the loss");
  if (labels.empty() || model.labels() == 1) return;
  const auto [least, most] = std::minmax_element(labels.begin(), labels.end());
  check(*least >= 0 && *most < static_cast<double>(model.labels()), "labels should be from 0 to {}, found {} to {}",
        model.labels() - 1, *least, *most);
}

// What a step computes in; measurements between the steps are in the weights' dtype.
class ComputeDtype {
 public:
  ComputeDtype(Classifier& model, at::ScalarType dtype) : model_(model) { model.set_compute_dtype(dtype); }
  ~ComputeDtype() { model_.set_compute_dtype({}); }
  ComputeDtype(const ComputeDtype&) = delete;
  ComputeDtype& operator=(const ComputeDtype&) = delete;

 private:
  Classifier& model_;
};

class ExamplePasses : public TeacherPasses {
 public:
  ExamplePasses(Classifier& model, const Examples& examples, std::int64_t batch, std::uint64_t seed, at::ScalarType dtype)
      : model_(model), examples_(examples), batch_(batch), dtype_(dtype), order_(examples.lengths(), batch, seed) {}
  // What counts here are examples.
  std::int64_t tokens_a_pass() const override { return batch_; }
  void next(const LayerVisitor& visit) override {
    const ComputeDtype compute(model_, dtype_);
    model_.visit_teacher(examples_.batch(order_.rows(step_++)).input, visit);
  }
  std::int64_t position() const override { return step_; }
  void set_position(std::int64_t position) override { step_ = position; }

 private:
  Classifier& model_;
  const Examples& examples_;
  std::int64_t batch_, step_ = 0;
  at::ScalarType dtype_;
  ExampleOrder order_;
};

}  // namespace

at::Tensor teacher_loss(const at::Tensor& logits, const at::Tensor& teacher, bool classes) {
  if (!classes) return (logits - teacher).square().mean();
  return at::kl_div(logits.to(at::kFloat).log_softmax(-1), teacher.to(at::kFloat).log_softmax(-1), at::Reduction::Sum,
                    /*log_target=*/true) /
         static_cast<double>(logits.size(0));
}

nlohmann::json to_json(const ClassificationConfig& config) {
  return {{"epochs", config.epochs},
          {"batch", config.batch},
          {"learning_rate", config.learning_rate},
          {"map_learning_rate", config.map_learning_rate},
          {"weight_decay", config.weight_decay},
          {"clip", config.clip},
          {"schedule", to_string(config.schedule)},
          {"warmup", config.warmup},
          {"teacher_factor", config.teacher_factor},
          {"hidden_factor", config.hidden_factor}};
}

ClassificationStage::ClassificationStage(Classifier& model, const Examples& examples, const ClassificationConfig& config,
                                         std::string name, std::uint64_t seed)
    : model_(model),
      examples_(examples),
      config_(config),
      name_(std::move(name)),
      seed_(seed),
      order_(examples.lengths(), config.batch, seed),
      steps_(steps_of(config.epochs, order_)) {
  check_labels(model, examples, config.teacher_factor > 0 || config.hidden_factor > 0);
  check(config.warmup >= 0 && config.warmup < 1, "{}: the warm-up is a share of the steps from 0 to 1, found {}", name_,
        config.warmup);
  NamedParameters maps, matrices, vectors;
  for (const auto& [parameter, tensor] : all_weights(model)) {
    const bool map = parameter.starts_with("layers.");
    const bool trained = !map || config.map_learning_rate > 0;
    tensor->set_requires_grad(trained);
    tensor->mutable_grad() = at::Tensor();
    if (trained) (map ? maps : tensor->dim() >= 2 ? matrices : vectors).emplace_back(parameter, tensor);
  }
  check(config.teacher_factor >= 0 && config.teacher_factor <= 1, "{}: the teacher's factor is from 0 to 1, found {}", name_,
        config.teacher_factor);
  if (config.teacher_factor > 0 || config.hidden_factor > 0) {
    teacher_ = model.teacher();
    teacher_->set_compute_dtype(config.dtype);
  }
  optimizer_.add(maps, config.map_learning_rate, 0);
  optimizer_.add(matrices, config.learning_rate, config.weight_decay);
  optimizer_.add(vectors, config.learning_rate, 0);
}

ClassificationStage::~ClassificationStage() {
  model_.set_dropout_seed({});
  for (const auto& [parameter, tensor] : all_weights(model_)) {
    tensor->mutable_grad() = at::Tensor();
    tensor->set_requires_grad(false);
  }
}

StepResult ClassificationStage::step(std::int64_t index) {
  const std::vector<std::int64_t> rows = order_.rows(index);
  const ComputeDtype compute(model_, config_.dtype);
  const ExampleBatch batch = examples_.batch(rows);
  const at::AutoGradMode mode(true);
  HiddenStates hidden, teacher_hidden;
  const bool matching = config_.hidden_factor > 0;
  if (!matching) model_.set_dropout_seed(seed_ * 1'000'003 + static_cast<std::uint64_t>(index));
  const auto [logits, labels] = model_.labelled_logits(batch.input, batch.labels, matching ? hidden.visitor() : LayerVisitor{});
  at::Tensor loss = loss_of(logits, labels);
  double error = 0;
  if (teacher_) {
    at::Tensor taught;
    {
      const at::NoGradGuard no_gradients;
      taught =
          teacher_->labelled_logits(batch.input, batch.labels, matching ? teacher_hidden.visitor() : LayerVisitor{}).logits;
    }
    const double factor = config_.teacher_factor;
    if (factor > 0) loss = (1 - factor) * loss + factor * teacher_loss(logits, taught, labels.scalar_type() == at::kLong);
    if (matching) {
      const at::Tensor difference = hidden_error(hidden, teacher_hidden, batch.input.key_count);
      error = difference.item<double>();
      loss = loss + config_.hidden_factor * difference;
    }
  }
  loss.backward();
  optimizer_.collect_gradients();
  model_.set_dropout_seed({});
  const auto warmup = static_cast<std::int64_t>(std::ceil(config_.warmup * static_cast<double>(steps_)));
  const double factor = learning_rate_factor(config_.schedule, index, steps_, warmup);
  const double norm = optimizer_.step(factor, config_.clip);
  StepResult result;
  result.loss = loss.item<double>();
  result.learning_rate = config_.learning_rate * factor;
  result.tokens = std::ssize(rows);
  result.details = {{"gradient_norm", norm}};
  if (matching) result.details["hidden_error"] = error;
  if (labels.scalar_type() == at::kLong) {
    const auto labelled = labels.ne(kNoLabel).sum().item<double>();
    result.details["accuracy"] = logits.argmax(-1).eq(labels).sum().item<double>() / std::max(labelled, 1.0);
  }
  if (index >= steps_ - std::max<std::int64_t>(steps_ / 10, 1)) {
    loss_ += result.loss;
    hidden_error_ += error;
    ++summed_;
  }
  return result;
}

nlohmann::json ClassificationStage::position() const {
  return {{"loss", loss_}, {"hidden_error", hidden_error_}, {"summed", summed_}};
}

void ClassificationStage::set_position(const nlohmann::json& position) {
  try {
    loss_ = position.at("loss").get<double>();
    hidden_error_ = position.at("hidden_error").get<double>();
    summed_ = position.at("summed").get<std::int64_t>();
  } catch (const nlohmann::json::exception& error) {
    fail("{}: the saved state's position is damaged: {}", name_, error.what());
  }
}

nlohmann::json ClassificationStage::report() const {
  const auto summed = static_cast<double>(std::max<std::int64_t>(summed_, 1));
  nlohmann::json report = {{"stage", name_}, {"steps", steps_}, {"examples", examples_.size()}, {"loss", loss_ / summed}};
  if (config_.hidden_factor > 0) report["hidden_error"] = hidden_error_ / summed;
  return report;
}

std::unique_ptr<DistillationStage> classifier_distillation(Classifier& model, const Examples& examples, double epochs,
                                                           DistillationConfig config, std::uint64_t seed,
                                                           at::ScalarType dtype) {
  std::vector<DistilledLayer> layers;
  for (Attention* attention : model.attentions()) layers.push_back({attention});
  config.tokens = steps_of(epochs, ExampleOrder(examples.lengths(), config.batch, seed)) * config.batch;
  return std::make_unique<DistillationStage>(
      std::move(layers), std::make_unique<ExamplePasses>(model, examples, config.batch, seed, dtype),
      [&model] { return all_weights(model); }, config, "distillation");
}

at::Tensor predict(const Classifier& model, const Examples& examples, std::int64_t batch, Progress& progress) {
  const at::NoGradGuard no_gradients;
  // Those of like length together, so that little is padding.
  const std::vector<std::int64_t> lengths = examples.lengths();
  std::vector<std::int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return lengths[static_cast<std::size_t>(a)] < lengths[static_cast<std::size_t>(b)];
  });
  auto logits = at::empty({std::ssize(order), model.labels()}, at::kFloat);
  progress.begin("predicting", examples.size());
  for (std::size_t first = 0; first < order.size(); first += static_cast<std::size_t>(batch)) {
    if (interrupted()) throw Interrupted{};
    const auto rows = std::span(order).subspan(first, std::min(static_cast<std::size_t>(batch), order.size() - first));
    logits.index_copy_(0, at::tensor(rows), model.forward(examples.batch(rows).input).to(at::kFloat));
    progress.update(static_cast<std::int64_t>(first + rows.size()), "");
  }
  progress.end();
  return logits;
}

}  // namespace hedgehog

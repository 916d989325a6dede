#include "hedgehog/training/finetuning.h"

#include "hedgehog/base/error.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/models/decoder_layer.h"
#include "hedgehog/training/hidden_states.h"
#include "hedgehog/training/loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

namespace hedgehog {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

FinetuningKind finetuning_kind(const std::string& name) {
  for (const FinetuningKind kind : {FinetuningKind::kNone, FinetuningKind::kLora, FinetuningKind::kFull}) {
    if (to_string(kind) == name) return kind;
  }
  fail("finetuning: expected none, lora or full, found '{}'", name);
}

std::string to_string(FinetuningKind kind) {
  return kind == FinetuningKind::kNone ? "none" : kind == FinetuningKind::kLora ? "lora" : "full";
}

nlohmann::json to_json(const FinetuningConfig& config) {
  return {{"kind", to_string(config.kind)},
          {"tokens", config.tokens},
          {"length", config.length},
          {"batch", config.batch},
          {"accumulate", config.accumulate},
          {"learning_rate", config.learning_rate},
          {"map_learning_rate", config.map_learning_rate},
          {"weight_decay", config.weight_decay},
          {"clip", config.clip},
          {"schedule", to_string(config.schedule)},
          {"warmup", config.warmup},
          {"lora_rank", config.lora_rank},
          {"lora_alpha", config.lora_alpha},
          {"lora_targets", config.lora_targets},
          {"teacher_factor", config.teacher_factor},
          {"hidden_factor", config.hidden_factor},
          {"gradient_checkpointing", config.gradient_checkpointing}};
}

void check_finetuning(const FinetuningConfig& config, const Decoder& model) {
  check(config.kind != FinetuningKind::kNone && config.tokens > 0 && config.accumulate > 0,
        "finetuning: nothing to do: expected lora or full, tokens and batches a step above 0");
  check(config.teacher_factor >= 0 && config.teacher_factor <= 1, "teacher's logits: expected a factor from 0 to 1, found {}",
        config.teacher_factor);
  check(config.hidden_factor == 0 || !config.gradient_checkpointing,
        "hidden states cannot be matched with --gradient-checkpointing: layers that are recomputed cannot be looked at");
  if (config.kind != FinetuningKind::kLora) return;
  bool any = false;
  for (const std::string& target : config.lora_targets) {
    const auto slot =
        std::find_if(kLinearSlots.begin(), kLinearSlots.end(), [&](const LinearSlot& s) { return target == s.name; });
    check(slot != kLinearSlots.end(), "LoRA: expected targets among q, k, v, o, gate, up, down, found '{}'", target);
    any = any || (model.layers().front().*slot->member).weight.defined();
  }
  check(config.lora_rank > 0 && any, "LoRA: expected a rank above 0 and at least one target that the model has");
  for (const LinearSlot& slot : kLinearSlots) {
    const Linear& linear = model.layers().front().*slot.member;
    if (!linear.weight.defined()) continue;
    const std::int64_t most = std::min(linear.weight.size(0), linear.weight.size(1));
    const bool wanted = contains(config.lora_targets, slot.name);
    check(!wanted || config.lora_rank <= most, "LoRA: a rank of {} is more than the {} of the matrix '{}'", config.lora_rank,
          most, slot.name);
    if (!linear.lora_a.defined()) continue;
    check(wanted, "LoRA: the model has one on '{}' already, which the targets leave out", slot.name);
    check(linear.lora_a.size(0) == config.lora_rank, "LoRA: the model has one of rank {} already, the rank asked for is {}",
          linear.lora_a.size(0), config.lora_rank);
    const double alpha = linear.lora_scale * static_cast<double>(config.lora_rank);
    check(std::abs(alpha - config.lora_alpha) <= 1e-6 * std::abs(alpha),
          "LoRA: the model has one of alpha {} already, the alpha asked for is {}", alpha, config.lora_alpha);
  }
}

FinetuningStage::FinetuningStage(Decoder& model, const Corpus& corpus, const FinetuningConfig& config, std::uint64_t seed,
                                 const std::optional<Decoder>& teacher)
    : model_(model),
      config_(config),
      sampler_(corpus, config.batch, config.length, seed),
      checkpointing_before_(model.gradient_checkpointing) {
  check_finetuning(config, model);
  const bool taught = config.teacher_factor > 0 || config.hidden_factor > 0;
  if (taught && teacher) {
    teacher_ = teacher;
  } else if (taught) {
    teacher_ = model.teacher();
    if (config.kind == FinetuningKind::kFull) {  // the shared weights are about to change
      for (const auto& [name, tensor] : teacher_->weights()) *tensor = tensor->detach().clone();
    }
  }
  if (config.kind == FinetuningKind::kLora) start_lora(seed);
  choose_parameters();
  model_.gradient_checkpointing = config.gradient_checkpointing;
}

FinetuningStage::~FinetuningStage() {
  for (const auto& [tensor, required] : required_gradient_) {
    tensor->mutable_grad() = at::Tensor();
    tensor->set_requires_grad(required);
  }
  model_.gradient_checkpointing = checkpointing_before_;
}

void FinetuningStage::start_lora(std::uint64_t seed) {
  std::uint64_t stream = seed * 1000003;
  for (DecoderLayer& layer : model_.layers()) {
    for (const LinearSlot& slot : kLinearSlots) {
      ++stream;
      Linear& linear = layer.*slot.member;
      if (!contains(config_.lora_targets, slot.name) || linear.lora_a.defined() || !linear.weight.defined()) continue;
      linear.add_lora(config_.lora_rank, config_.lora_alpha, stream);
    }
  }
}

void FinetuningStage::choose_parameters() {
  NamedParameters maps, matrices, vectors;
  for (const auto& [name, tensor] : weights()) {
    const bool map = name.find(".attention.") != std::string::npos;
    const bool lora = name.find(".lora_") != std::string::npos;
    const bool trained = map ? config_.map_learning_rate > 0 : lora || config_.kind == FinetuningKind::kFull;
    required_gradient_.emplace_back(tensor, map && tensor->requires_grad());
    tensor->set_requires_grad(trained);
    tensor->mutable_grad() = at::Tensor();
    if (trained) (map ? maps : tensor->dim() >= 2 ? matrices : vectors).emplace_back(name, tensor);
  }
  optimizer_.add(maps, config_.map_learning_rate, 0);
  optimizer_.add(matrices, config_.learning_rate, config_.weight_decay);
  optimizer_.add(vectors, config_.learning_rate, 0);
}

NamedParameters FinetuningStage::weights() {
  return adapter_tensors(model_, config_.kind == FinetuningKind::kFull);
}

std::int64_t FinetuningStage::steps() const {
  const std::int64_t tokens_a_step = config_.batch * config_.length * config_.accumulate;
  return (config_.tokens + tokens_a_step - 1) / tokens_a_step;
}

StepResult FinetuningStage::step(std::int64_t index) {
  std::vector<Batch> batches;
  std::int64_t targets = 0;
  for (std::int64_t i = 0; i < config_.accumulate; ++i) {
    batches.push_back(sampler_.next());
    targets += batches.back().targets.ne(-100).sum().item<std::int64_t>();
  }
  const bool matching = config_.hidden_factor > 0;
  double cross_entropy = 0, kl = 0, error = 0;
  for (const Batch& batch : batches) {
    HiddenStates layers, teacher_layers;
    const auto visitor = [&](HiddenStates& states) { return matching ? states.visitor() : LayerVisitor{}; };
    at::Tensor teacher;
    if (teacher_) {
      const at::NoGradGuard no_gradient;
      teacher = teacher_->forward(batch.tokens, batch.segment_start, visitor(teacher_layers)).flatten(0, 1);
    }
    const at::Tensor hidden = model_.forward(batch.tokens, batch.segment_start, visitor(layers)).flatten(0, 1);
    LanguageModelLoss loss = language_model_loss(hidden, model_.output_weight(), batch.targets.flatten(), teacher,
                                                 teacher_ ? teacher_->output_weight() : at::Tensor(), config_.teacher_factor);
    // Each batch counts by its targets, so that the sum is the mean over all targets of the step.
    const double share = static_cast<double>(loss.tokens) / static_cast<double>(std::max<std::int64_t>(targets, 1));
    at::Tensor total = loss.total * share;
    if (matching) {
      const at::Tensor difference = hidden_error(layers, teacher_layers) / static_cast<double>(config_.accumulate);
      error += difference.item<double>();
      total = total + config_.hidden_factor * difference;
    }
    total.backward();
    optimizer_.collect_gradients();
    cross_entropy += share * loss.cross_entropy;
    kl += share * loss.kl;
  }
  const double factor = learning_rate_factor(config_.schedule, index, steps(), config_.warmup);
  const double norm = optimizer_.step(factor, config_.clip);
  if (index >= steps() - std::max<std::int64_t>(steps() / 10, 1)) {
    cross_entropy_ += cross_entropy;
    kl_ += kl;
    hidden_error_ += error;
    ++summed_;
  }
  StepResult result;
  result.loss = (1 - config_.teacher_factor) * cross_entropy + config_.teacher_factor * kl + config_.hidden_factor * error;
  result.kl = kl;
  result.learning_rate = config_.learning_rate * factor;
  result.tokens = config_.batch * config_.length * config_.accumulate;
  result.details = {{"cross_entropy", cross_entropy}, {"gradient_norm", norm}};
  if (matching) result.details["hidden_error"] = error;
  return result;
}

nlohmann::json FinetuningStage::position() const {
  return {{"rows", sampler_.position()},
          {"cross_entropy", cross_entropy_},
          {"kl", kl_},
          {"hidden_error", hidden_error_},
          {"summed", summed_}};
}

void FinetuningStage::set_position(const nlohmann::json& position) {
  try {
    sampler_.set_position(position.at("rows").get<std::int64_t>());
    cross_entropy_ = position.at("cross_entropy").get<double>();
    kl_ = position.at("kl").get<double>();
    hidden_error_ = position.at("hidden_error").get<double>();
    summed_ = position.at("summed").get<std::int64_t>();
  } catch (const nlohmann::json::exception& error) {
    fail("finetuning: the saved state's position is damaged: {}", error.what());
  }
}

nlohmann::json FinetuningStage::report() const {
  const double steps_summed = static_cast<double>(std::max<std::int64_t>(summed_, 1));
  nlohmann::json report = {{"stage", name()},
                           {"steps", steps()},
                           {"tokens", steps() * config_.batch * config_.length * config_.accumulate},
                           {"cross_entropy", cross_entropy_ / steps_summed},
                           {"kl", kl_ / steps_summed}};
  if (config_.hidden_factor > 0) report["hidden_error"] = hidden_error_ / steps_summed;
  return report;
}

}  // namespace hedgehog

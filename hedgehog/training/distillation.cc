#include "hedgehog/training/distillation.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/data/batch_sampler.h"
#include "hedgehog/models/adapter.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace hedgehog {
namespace {

bool is_softmax(const Attention& attention) {
  return attention.config().kind == AttentionKind::kSoftmax;
}

void add(Attention::DistillationLoss& sum, const Attention::DistillationLoss& loss, double factor = 1) {
  sum.cross_entropy += factor * loss.cross_entropy;
  sum.kl += factor * loss.kl;
  sum.output_error += factor * loss.output_error;
}

Attention::DistillationLoss mean(const std::vector<DistilledLayer>& layers,
                                 const std::vector<Attention::DistillationLoss>& losses) {
  const auto counts = [](const DistilledLayer& layer) { return !is_softmax(*layer.attention); };
  const auto count = std::count_if(layers.begin(), layers.end(), counts);
  Attention::DistillationLoss result;
  for (std::size_t layer = 0; layer < losses.size(); ++layer) {
    if (counts(layers[layer])) add(result, losses[layer], 1.0 / static_cast<double>(count));
  }
  return result;
}

std::vector<DistilledLayer> layers_of(Decoder& model) {
  std::vector<DistilledLayer> layers;
  for (std::size_t i = 0; i < model.layers().size(); ++i)
    layers.push_back({&model.layers()[i].attention, model.config().windows[i]});
  return layers;
}

class CorpusPasses : public TeacherPasses {
 public:
  CorpusPasses(const Decoder& model, const Corpus& corpus, const DistillationConfig& config, std::uint64_t seed)
      : model_(model), tokens_(config.batch * config.length), sampler_(corpus, config.batch, config.length, seed) {}
  std::int64_t tokens_a_pass() const override { return tokens_; }
  void next(const LayerVisitor& visit) override {
    const Batch batch = sampler_.next();
    model_.forward_visiting(batch.tokens, batch.segment_start, /*softmax_only=*/true, visit);
  }
  std::int64_t position() const override { return sampler_.position(); }
  void set_position(std::int64_t position) override { sampler_.set_position(position); }

 private:
  const Decoder& model_;
  std::int64_t tokens_;
  BatchSampler sampler_;
};

}  // namespace

nlohmann::json to_json(const DistillationConfig& config) {
  return {{"tokens", config.tokens},
          {"length", config.length},
          {"batch", config.batch},
          {"updates", config.updates},
          {"weights_factor", config.weights_factor},
          {"output_factor", config.output_factor},
          {"learning_rate", config.learning_rate},
          {"weight_decay", config.weight_decay},
          {"schedule", to_string(config.schedule)},
          {"warmup", config.warmup}};
}

void check_distillation(const DistillationConfig& config, const std::string& name) {
  check(config.tokens > 0, "{}: no tokens to learn from", name);
  check(config.updates >= 1, "{}: expected at least 1 update a batch, found {}", name, config.updates);
  check(config.weights_factor >= 0 && config.output_factor >= 0 && config.weights_factor + config.output_factor > 0,
        "{}: expected factors of at least 0, one of them above it, found {} for the weights and {} for the outputs", name,
        config.weights_factor, config.output_factor);
}

DistillationStage::DistillationStage(std::vector<DistilledLayer> layers, std::unique_ptr<TeacherPasses> passes,
                                     std::function<NamedParameters()> weights, const DistillationConfig& config,
                                     std::string name)
    : layers_(std::move(layers)),
      passes_(std::move(passes)),
      weights_(std::move(weights)),
      config_(config),
      name_(std::move(name)),
      sums_(layers_.size()) {
  check_distillation(config, name_);
  NamedParameters parameters;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (is_softmax(*layers_[layer].attention)) continue;
    for (const auto& [parameter, tensor] : layers_[layer].attention->parameters()) {
      required_gradient_.emplace_back(tensor, tensor->requires_grad());
      tensor->set_requires_grad(true);
      tensor->mutable_grad() = at::Tensor();
      parameters.emplace_back(fmt::format("layers.{}.attention.{}", layer, parameter), tensor);
    }
  }
  check(!parameters.empty(), "{}: no layer has an attention with weights to learn; choose another --attention or --map", name_);
  optimizer_.add(parameters, config.learning_rate, config.weight_decay);
}

DistillationStage::DistillationStage(Decoder& model, const Corpus& corpus, const DistillationConfig& config, std::string name,
                                     std::uint64_t seed)
    : DistillationStage(
          layers_of(model), std::make_unique<CorpusPasses>(model, corpus, config, seed),
          [&model] { return adapter_tensors(model, /*full_weights=*/false); }, config, std::move(name)) {}

DistillationStage::~DistillationStage() {
  for (const auto& [tensor, required] : required_gradient_) {
    tensor->mutable_grad() = at::Tensor();
    tensor->set_requires_grad(required);
  }
}

std::int64_t DistillationStage::steps() const {
  const std::int64_t tokens = passes_->tokens_a_pass();
  return (config_.tokens + tokens - 1) / tokens * config_.updates;
}

void DistillationStage::visit_batch(std::int64_t index, const LayerVisitor& visit) {
  if (config_.updates == 1) return passes_->next(visit);
  if (kept_.empty()) {
    kept_position_ = passes_->position();
    passes_->next([this](std::int64_t layer, const AttentionInput& input) { kept_.emplace_back(layer, input); });
  }
  for (const auto& [layer, input] : kept_) visit(layer, input);
  if ((index + 1) % config_.updates == 0) kept_.clear();
}

StepResult DistillationStage::step(std::int64_t index) {
  const std::int64_t part = index % config_.updates;
  const bool counts = index >= steps() - std::max<std::int64_t>(steps() / 10, 1);
  Attention::DistillationLoss sum;
  std::int64_t learning = 0;
  visit_batch(index, [&](std::int64_t number, const AttentionInput& input) {
    const DistilledLayer& layer = layers_[static_cast<std::size_t>(number)];
    if (is_softmax(*layer.attention)) return;
    // A batch may be shorter than there are steps for it.
    const QueryRows rows{.first = part % input.q.size(2), .step = config_.updates};
    const Attention::DistillationLoss loss =
        layer.attention->distill(input, config_.weights_factor, config_.output_factor, 1, layer.teacher_window, rows);
    add(sum, loss);
    if (counts) add(sums_[static_cast<std::size_t>(number)], loss);
    ++learning;
  });
  summed_ += counts;
  const double factor = learning_rate_factor(config_.schedule, index, steps(), config_.warmup);
  // No clipping: a norm over all layers would make each layer's path depend on the others'.
  optimizer_.collect_gradients();
  const double norm = optimizer_.step(factor, 0);
  Attention::DistillationLoss mean;
  add(mean, sum, 1.0 / static_cast<double>(std::max<std::int64_t>(learning, 1)));
  StepResult result;
  result.loss = config_.weights_factor * mean.cross_entropy + config_.output_factor * mean.output_error;
  result.kl = mean.kl;
  result.learning_rate = config_.learning_rate * factor;
  const std::int64_t tokens = passes_->tokens_a_pass();
  result.tokens = tokens * (part + 1) / config_.updates - tokens * part / config_.updates;
  result.details = {{"cross_entropy", mean.cross_entropy}, {"output_error", mean.output_error}, {"gradient_norm", norm}};
  return result;
}

NamedParameters DistillationStage::weights() {
  return weights_();
}

nlohmann::json DistillationStage::position() const {
  nlohmann::json sums = nlohmann::json::array();
  for (const auto& sum : sums_) sums.push_back({sum.cross_entropy, sum.kl, sum.output_error});
  return {{"rows", kept_.empty() ? passes_->position() : kept_position_}, {"sums", sums}, {"summed", summed_}};
}

void DistillationStage::set_position(const nlohmann::json& position) {
  try {
    passes_->set_position(position.at("rows").get<std::int64_t>());
    kept_.clear();
    summed_ = position.at("summed").get<std::int64_t>();
    const auto sums = position.at("sums").get<std::vector<std::vector<double>>>();
    check(sums.size() == sums_.size(), "{}: the saved state is of a model of {} layers", name_, sums.size());
    for (std::size_t layer = 0; layer < sums.size(); ++layer) {
      sums_[layer] = {sums[layer].at(0), sums[layer].at(1), sums[layer].at(2)};
    }
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail("{}: the saved state's position is damaged: {}", name_, error.what());
  }
}

nlohmann::json DistillationStage::report() const {
  nlohmann::json layers = nlohmann::json::array();
  const double share = 1.0 / static_cast<double>(std::max<std::int64_t>(summed_, 1));
  std::vector<Attention::DistillationLoss> means(sums_.size());
  for (std::size_t layer = 0; layer < sums_.size(); ++layer) {
    if (is_softmax(*layers_[layer].attention)) continue;
    add(means[layer], sums_[layer], share);
    layers.push_back({{"layer", layer},
                      {"cross_entropy", means[layer].cross_entropy},
                      {"kl", means[layer].kl},
                      {"output_error", means[layer].output_error}});
  }
  const Attention::DistillationLoss total = mean(layers_, means);
  return {{"stage", name_},
          {"steps", steps()},
          {"tokens", steps() / config_.updates * passes_->tokens_a_pass()},
          {"cross_entropy", total.cross_entropy},
          {"kl", total.kl},
          {"output_error", total.output_error},
          {"layers", layers}};
}

std::vector<Attention::DistillationLoss> distillation_losses(Decoder& model, const Corpus& corpus, std::int64_t rows,
                                                             std::int64_t length, Progress& progress) {
  const std::int64_t there = std::ssize(corpus.tokens) / length;
  rows = std::min(rows, there);
  check(rows > 0, "{}: too short for one row of {} tokens", corpus.description, length);
  std::vector<Attention::DistillationLoss> losses(model.layers().size());
  progress.begin("comparing with softmax", rows);
  for (std::int64_t row = 0; row < rows; ++row) {
    if (interrupted()) throw Interrupted{};
    const std::int64_t first = row * length;
    at::Tensor tokens = at::empty({1, length}, at::kLong), segment_start = at::empty({1, length}, at::kInt);
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int64_t at = first + i;
      const auto after = std::upper_bound(corpus.document_starts.begin(), corpus.document_starts.end(), at);
      tokens.mutable_data_ptr<std::int64_t>()[i] = corpus.tokens[static_cast<std::size_t>(at)];
      segment_start.mutable_data_ptr<std::int32_t>()[i] =
          static_cast<std::int32_t>(std::max<std::int64_t>(*std::prev(after) - first, 0));
    }
    const bool packed = segment_start.any().item<bool>();
    model.forward_visiting(tokens, packed ? segment_start : at::Tensor(), /*softmax_only=*/true,
                           [&](std::int64_t layer, const AttentionInput& input) {
                             Attention& attention = model.layers()[static_cast<std::size_t>(layer)].attention;
                             if (is_softmax(attention)) return;
                             const std::int64_t window = model.config().windows[static_cast<std::size_t>(layer)];
                             add(losses[static_cast<std::size_t>(layer)], attention.distill(input, 1, 1, 0, window),
                                 1.0 / static_cast<double>(rows));
                           });
    progress.update(row + 1, "");
  }
  progress.end();
  return losses;
}

Attention::DistillationLoss mean_over_layers(const Decoder& model, const std::vector<Attention::DistillationLoss>& losses) {
  Decoder shared = model;
  return mean(layers_of(shared), losses);
}

}  // namespace hedgehog

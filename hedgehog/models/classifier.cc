#include "hedgehog/models/classifier.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/models/adapter_description.h"
#include "hedgehog/models/adapter_tensors.h"
#include "hedgehog/models/bert.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/models/gpt2.h"
#include "hedgehog/models/json_fields.h"
#include "hedgehog/models/vit.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace hedgehog {
namespace {

using nlohmann::json;

constexpr const char* kPrefix = "hedgehog.";

template <typename Layers>
std::vector<Attention*> attentions_of(Layers& layers) {
  std::vector<Attention*> result;
  for (auto& layer : layers) result.push_back(&layer.attention);
  return result;
}

// What a family reads of a batch.
BertInput read(const Bert&, const ClassifierInput& input) {
  check(input.tokens.defined(), "a BERT reads texts, and this task has none");
  return {input.tokens, input.token_types, input.key_count};
}

at::Tensor read(const Vit&, const ClassifierInput& input) {
  check(input.images.defined(), "a ViT reads images, and this task has none");
  return input.images;
}

template <typename Model>
Model with_own_weights(Model model) {
  for (const auto& [name, tensor] : model.weights()) *tensor = tensor->detach().clone();
  return model;
}

template <typename Model>
class EncoderClassifier : public Classifier {
 public:
  EncoderClassifier(Model model, json config) : model_(std::move(model)), config_(std::move(config)) {}

  at::Tensor forward(const ClassifierInput& input, const LayerVisitor& visit) const override {
    return model_.class_logits(model_.forward(read(model_, input), visit));
  }
  std::unique_ptr<Classifier> teacher() const override {
    return std::make_unique<EncoderClassifier>(with_own_weights(model_.teacher()), config_);
  }
  void visit_teacher(const ClassifierInput& input, const LayerVisitor& visit) const override {
    model_.forward_visiting(read(model_, input), /*softmax_only=*/true, visit);
  }
  std::vector<Attention*> attentions() override { return attentions_of(model_.layers()); }
  void set_attention(AttentionConfig config, const std::vector<KeptSoftmax>& keep_softmax) override {
    config.causal = false;
    model_.set_attention(config, keep_softmax);
  }
  std::vector<std::pair<std::string, at::Tensor*>> weights() override { return model_.weights(); }
  void set_dropout_seed(std::optional<std::uint64_t> seed) override { model_.dropout_seed = seed; }
  void set_compute_dtype(std::optional<at::ScalarType> dtype) override { model_.compute_dtype = dtype; }
  std::int64_t labels() const override { return model_.config().encoder.labels; }
  json config() const override { return config_; }

 private:
  Model model_;
  json config_;
};

// What comes after the last token.
class DecoderClassifier : public Classifier {
 public:
  DecoderClassifier(Decoder model, json config) : model_(std::move(model)), config_(std::move(config)) {}

  at::Tensor forward(const ClassifierInput& input, const LayerVisitor& visit) const override {
    const auto hidden = model_.forward(tokens(input), {}, visit);
    return model_.logits(hidden.gather(1, last_token(input).unsqueeze(-1).expand({-1, 1, hidden.size(2)})).squeeze(1));
  }
  LabelledLogits labelled_logits(const ClassifierInput& input, const at::Tensor& labels,
                                 const LayerVisitor& visit) const override {
    const auto last = last_token(input);
    auto next = at::cat({input.tokens.slice(1, 1), input.tokens.slice(1, 0, 1)}, 1);
    next.scatter_(1, last, labels.unsqueeze(1));
    const auto taught = at::arange(next.size(1)).unsqueeze(0).le(last).flatten().nonzero().squeeze(1);
    const auto hidden = model_.forward(tokens(input), {}, visit).flatten(0, 1).index_select(0, taught);
    return {model_.logits(hidden), next.flatten().index_select(0, taught)};
  }
  std::unique_ptr<Classifier> teacher() const override {
    return std::make_unique<DecoderClassifier>(with_own_weights(model_.teacher()), config_);
  }
  void visit_teacher(const ClassifierInput& input, const LayerVisitor& visit) const override {
    model_.forward_visiting(tokens(input), {}, /*softmax_only=*/true, visit);
  }
  std::vector<Attention*> attentions() override { return attentions_of(model_.layers()); }
  void set_attention(AttentionConfig config, const std::vector<KeptSoftmax>& keep_softmax) override {
    config.causal = true;
    model_.set_attention(config, keep_softmax);
  }
  std::vector<std::pair<std::string, at::Tensor*>> weights() override { return model_.weights(); }
  void set_dropout_seed(std::optional<std::uint64_t>) override {}
  void set_compute_dtype(std::optional<at::ScalarType> dtype) override { model_.compute_dtype = dtype; }
  std::int64_t labels() const override { return model_.config().vocabulary; }
  json config() const override { return config_; }

 private:
  static at::Tensor tokens(const ClassifierInput& input) {
    check(input.tokens.defined(), "a decoder reads tokens, and this task has none");
    return input.tokens;
  }
  // int64 [batch, 1]
  static at::Tensor last_token(const ClassifierInput& input) {
    if (input.key_count.defined()) return (input.key_count.to(at::kLong) - 1).unsqueeze(1);
    return at::full({tokens(input).size(0), 1}, input.tokens.size(1) - 1, at::kLong);
  }
  Decoder model_;
  json config_;
};

std::string model_type(const json& config) {
  return JsonFields(config, "config.json").text("model_type");
}

bool has_classifier(const BertConfig& config) {
  return config.classifier;
}
bool has_classifier(const VitConfig& config) {
  return config.classifier || config.distilled_classifiers;
}

template <typename Model>
void resize(Model& model, json& config, std::int64_t labels, std::uint64_t seed, const std::filesystem::path& where) {
  const bool some = has_classifier(model.config());
  check(labels > 0 || some, "{}: has no classifier; 'hedgehog train' with a task gives it one", where.string());
  if (labels <= 0) return;
  const bool there = some && model.config().encoder.labels == labels;
  if (!there) model.start_classifier(labels, seed);
  config["num_labels"] = labels;
  config.erase("id2label");
  config.erase("label2id");
}

}  // namespace

std::unique_ptr<Classifier> load_classifier(const Checkpoint& checkpoint, std::int64_t labels, std::uint64_t seed) {
  json config = checkpoint.config;
  const std::string type = model_type(config);
  std::unique_ptr<Classifier> result;
  if (type == "bert") {
    Bert model(checkpoint);
    resize(model, config, labels, seed, checkpoint.path);
    result = std::make_unique<EncoderClassifier<Bert>>(std::move(model), config);
  } else if (type == "vit" || type == "deit") {
    Vit model(checkpoint);
    resize(model, config, labels, seed, checkpoint.path);
    result = std::make_unique<EncoderClassifier<Vit>>(std::move(model), config);
  } else {
    result = std::make_unique<DecoderClassifier>(Decoder(checkpoint), config);
  }
  if (!config.contains("hedgehog")) return result;
  const std::string where = (checkpoint.path / "config.json").string() + ": hedgehog";
  const at::NoGradGuard no_gradients;
  const std::vector<Attention*> attentions = result->attentions();
  const auto configs = described_attention(config["hedgehog"], std::ssize(attentions), where);
  for (std::size_t i = 0; i < attentions.size(); ++i) {
    *attentions[i] = attentions[i]->with_config(configs[i]);
    for (auto& [name, tensor] : attentions[i]->parameters()) {
      *tensor = checkpoint.tensors->load_float(kPrefix + layer_tensor_prefix(i) + "attention." + name, tensor->sizes().vec());
    }
  }
  return result;
}

std::unique_ptr<Classifier> make_classifier(const json& config, std::uint64_t seed) {
  const std::string type = model_type(config);
  if (type == "bert") {
    BertConfig bert = bert_config(config);
    bert.masked_words = false;
    return std::make_unique<EncoderClassifier<Bert>>(Bert(bert, seed), config);
  }
  if (type == "vit" || type == "deit") return std::make_unique<EncoderClassifier<Vit>>(Vit(vit_config(config), seed), config);
  return std::make_unique<DecoderClassifier>(Decoder(decoder_config(config), seed), config);
}

void write_classifier(const std::filesystem::path& directory, Classifier& model, json description) {
  std::filesystem::create_directories(directory);
  check(description.is_null() || description.is_object(), "a model's description should be a JSON object");
  json config = model.config();
  description["version"] = 1;
  json layers = json::object();
  const std::vector<Attention*> attentions = model.attentions();
  description["attention"] = to_json(attentions.front()->config());
  for (std::size_t i = 1; i < attentions.size(); ++i) {
    if (!(attentions[i]->config() == attentions.front()->config()))
      layers[std::to_string(i)] = to_json(attentions[i]->config());
  }
  description["layer_attention"] = layers;
  config["hedgehog"] = description;
  config["num_labels"] = model.labels();
  NamedTensors tensors;
  for (const auto& [name, tensor] : all_weights(model)) {
    const bool attention = name.find(".attention.") != std::string::npos && name.starts_with("layers.");
    tensors.emplace_back(attention ? kPrefix + name : name, tensor->detach());
  }
  if (model_type(config) == "gpt2") tensors = as_gpt2_tensors(tensors);
  write_safetensors(directory / "model.safetensors", tensors, {{"format", "pt"}});
  write_text_file(directory / "config.json", config.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

std::vector<std::pair<std::string, at::Tensor*>> all_weights(Classifier& model) {
  auto result = model.weights();
  const std::vector<Attention*> attentions = model.attentions();
  for (std::size_t i = 0; i < attentions.size(); ++i) {
    for (auto& [name, tensor] : attentions[i]->parameters()) {
      result.emplace_back(layer_tensor_prefix(i) + "attention." + name, tensor);
    }
  }
  return result;
}

}  // namespace hedgehog

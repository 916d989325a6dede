// ViT's and DeiT's list of weights, patches as tokens, and the classifiers; the blocks are encoder.cc's.
#include "hedgehog/models/vit.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/ranges.h>

#include <tuple>

namespace hedgehog {
namespace {

constexpr EncoderNames kVitNames{{"attention.attention.query", "attention.attention.key", "attention.attention.value",
                                  "attention.output.dense", "intermediate.dense", "output.dense"},
                                 "layernorm_before",
                                 "layernorm_after"};

WeightNaming vit_naming(const std::string& model_type) {
  return {model_type + ".",
          {{"encoder.layer.", "layers."},
           {"attention.attention.query", "attention.q_proj"},
           {"attention.attention.key", "attention.k_proj"},
           {"attention.attention.value", "attention.v_proj"},
           {"attention.output.dense", "attention.o_proj"},
           {"intermediate.dense", "mlp.fc1"},
           {"output.dense", "mlp.fc2"}}};
}

// A size in pixels: one number for a square, or [height, width].
std::pair<std::int64_t, std::int64_t> read_size(const JsonFields& fields, const std::string& key, std::int64_t otherwise) {
  constexpr std::int64_t kMost = 1 << 16;
  if (!fields.has(key) || !fields.value()[key].is_array()) {
    const std::int64_t side = fields.integer_or(key, otherwise, 1, kMost);
    return {side, side};
  }
  const nlohmann::json& sides = fields.array(key);
  check(sides.size() == 2, "{}: \"{}\" should be one number, or height and width, found {} numbers", fields.where(), key,
        sides.size());
  const nlohmann::json named{{"height", sides[0]}, {"width", sides[1]}};
  const JsonFields both(named, fields.where() + ": " + key);
  return {both.integer("height", 1, kMost), both.integer("width", 1, kMost)};
}

}  // namespace

VitConfig vit_config(const nlohmann::json& json) {
  const JsonFields fields(json, "config.json");
  VitConfig config;
  config.model_type = fields.text("model_type");
  check(config.model_type == "vit" || config.model_type == "deit", "{}: \"model_type\" should be vit or deit, found {}",
        fields.where(), brief(config.model_type));
  config.encoder = encoder_config(fields);
  config.encoder.qkv_bias = fields.boolean_or("qkv_bias", true);
  config.encoder.dropout = fields.number_or("hidden_dropout_prob", 0, 0, 0.999);
  config.channels = fields.integer_or("num_channels", 3, 1, 1 << 16);
  std::tie(config.image_height, config.image_width) = read_size(fields, "image_size", 224);
  std::tie(config.patch_height, config.patch_width) = read_size(fields, "patch_size", 16);
  return config;
}

Vit::Vit(const Checkpoint& checkpoint, at::ScalarType dtype)
    : config_(vit_config(checkpoint.config)), encoder_(config_.encoder, NormPlace::kInFront) {
  const TensorSource& source = *checkpoint.tensors;
  config_.classifier = source.contains("classifier.weight");
  config_.distilled_classifiers = distilled() && source.contains("cls_classifier.weight");
  visit_weights(weight_loader(source, vit_naming(config_.model_type), dtype));
}

Vit::Vit(const VitConfig& config, std::uint64_t seed, at::ScalarType dtype)
    : config_(config), encoder_(config.encoder, NormPlace::kInFront) {
  visit_weights(weight_maker(seed, config.encoder.initializer_deviation, dtype));
}

void Vit::visit_weights(const WeightVisitor& visit) {
  const VitConfig& c = config_;
  check(c.patch_height <= c.image_height && c.patch_width <= c.image_width,
        "a patch (patch_size, {}×{}) should not exceed the image (image_size, {}×{})", c.patch_height, c.patch_width,
        c.image_height, c.image_width);
  check(!c.distilled_classifiers || (distilled() && !c.classifier), "two classifiers take DeiT's two tokens, and no third one");
  const std::int64_t hidden = c.encoder.hidden;
  const std::string base = c.model_type + ".", embeddings = base + "embeddings.";
  visit(embeddings + "cls_token", class_token_, {1, 1, hidden});
  if (distilled()) visit(embeddings + "distillation_token", distillation_token_, {1, 1, hidden});
  visit(embeddings + "position_embeddings", positions_, {1, c.tokens(), hidden});
  visit(embeddings + "patch_embeddings.projection.weight", patch_weight_, {hidden, c.channels, c.patch_height, c.patch_width});
  visit(embeddings + "patch_embeddings.projection.bias", patch_bias_, {hidden});
  encoder_.visit_weights(base + "encoder.layer.", kVitNames, visit);
  visit_norm(base + "layernorm", norm_, hidden, visit);
  const char* name = c.distilled_classifiers ? "cls_classifier" : "classifier";
  if (c.classifier || c.distilled_classifiers) visit_linear(name, classifier_, c.encoder.labels, hidden, visit);
  if (!c.distilled_classifiers) return;
  visit_linear("distillation_classifier", distillation_classifier_, c.encoder.labels, hidden, visit);
}

std::vector<std::pair<std::string, at::Tensor*>> Vit::weights() {
  std::vector<std::pair<std::string, at::Tensor*>> result;
  visit_weights(weight_collector(result));
  return result;
}

const EncoderNames& Vit::layer_names() {
  return kVitNames;
}

at::Tensor Vit::embed(const at::Tensor& images, Dropout& dropout) const {
  const VitConfig& c = config_;
  check(images.dim() == 4 && images.is_floating_point() && images.size(0) > 0 && images.size(1) == c.channels &&
            images.size(2) == c.image_height && images.size(3) == c.image_width,
        "the model takes images [batch, {}, {}, {}] (channels, height, width) of floating numbers, found {} [{}]: scale or cut "
        "them",
        c.channels, c.image_height, c.image_width, at::toString(images.scalar_type()), fmt::join(images.sizes(), ", "));
  const std::int64_t batch = images.size(0), down = c.image_height / c.patch_height, across = c.image_width / c.patch_width;
  // A convolution whose windows do not overlap: one product of all patches.
  const at::Tensor patches = images.to(dtype())
                                 .narrow(2, 0, down * c.patch_height)
                                 .narrow(3, 0, across * c.patch_width)
                                 .reshape({batch, c.channels, down, c.patch_height, across, c.patch_width})
                                 .permute({0, 2, 4, 1, 3, 5})
                                 .reshape({batch, down * across, c.channels * c.patch_height * c.patch_width});
  std::vector<at::Tensor> tokens{class_token_.expand({batch, 1, -1})};
  if (distilled()) tokens.push_back(distillation_token_.expand({batch, 1, -1}));
  tokens.push_back(at::linear(patches, patch_weight_.flatten(1), patch_bias_));
  return dropout((at::cat(tokens, 1) + positions_).to(compute_dtype.value_or(dtype())), c.encoder.dropout);
}

at::Tensor Vit::final_norm(const at::Tensor& hidden) const {
  return norm_.forward(hidden, config_.encoder.norm_epsilon);
}

at::Tensor Vit::forward(const at::Tensor& images, const LayerVisitor& visit) const {
  Dropout dropout(dropout_seed);
  EncoderPass pass;
  pass.control = control;
  pass.visit = visit;
  return final_norm(encoder_.forward(embed(images, dropout), pass, dropout));
}

at::Tensor Vit::forward_visiting(const at::Tensor& images, bool softmax_only, const LayerVisitor& visit) const {
  const at::NoGradGuard no_gradients;
  Dropout none;
  EncoderPass pass;
  pass.control = softmax_only ? AttentionControl::kNone : control;
  pass.softmax_only = softmax_only;
  pass.visit = visit;
  return final_norm(encoder_.forward(embed(images, none), pass, none));
}

at::Tensor Vit::class_logits(const at::Tensor& hidden) const {
  check(config_.classifier || config_.distilled_classifiers, "this model has no classifier: start_classifier() makes one");
  const at::Tensor logits = classifier_.forward(hidden.select(1, 0).to(dtype()));
  if (!config_.distilled_classifiers) return logits;
  return (logits + distillation_classifier_.forward(hidden.select(1, 1).to(dtype()))) / 2;
}

void Vit::start_classifier(std::int64_t labels, std::uint64_t seed) {
  check(labels >= 1, "a classifier should have at least one label, found {}", labels);
  config_.encoder.labels = labels;
  config_.classifier = true;
  config_.distilled_classifiers = false;
  distillation_classifier_ = {};
  visit_linear("classifier", classifier_, labels, config_.encoder.hidden,
               weight_maker(seed, config_.encoder.initializer_deviation, dtype()));
}

Vit Vit::teacher() const {
  Vit copy = *this;
  copy.encoder_.become_teacher();
  copy.dropout_seed = std::nullopt;
  copy.control = AttentionControl::kNone;
  return copy;
}

}  // namespace hedgehog

// Vision Transformers: ViT (arXiv 2010.11929) and DeiT (arXiv 2012.12877, a distillation token beside the class token). Patches
// of an image as tokens, learned positions, blocks with the norm in front, a classifier on the class token.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/models/encoder.h"

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

struct VitConfig {
  std::string model_type = "vit";  // or "deit": with a distillation token
  EncoderConfig encoder;
  std::int64_t channels = 3;
  std::int64_t image_height = 224, image_width = 224, patch_height = 16, patch_width = 16;
  // What the model has beside its encoder; of a checkpoint: what its file holds.
  bool classifier = true;              // on the class token
  bool distilled_classifiers = false;  // DeiT's two in its place: on the class token and on the distillation token

  /// Class token, distillation token if there is one, patches; what is left of the image beside whole patches is not seen.
  std::int64_t tokens() const {
    return (image_height / patch_height) * (image_width / patch_width) + (model_type == "deit" ? 2 : 1);
  }
};

/// Throws Error that names the key for another model_type, an unknown activation, a missing or senseless value.
VitConfig vit_config(const nlohmann::json& config);

class Vit {
 public:
  /// Loads and checks every tensor of the encoder and of the classifiers that the file has, named with or without "vit." or
  /// "deit.", blocks as "encoder.layer.0.attention.attention.query" or, as newer files may, "layers.0.attention.q_proj".
  /// Weights in `dtype` (fp32 or bf16), no gradients; softmax attention everywhere. Throws Error for a missing tensor or a
  /// wrong shape, naming it and the file.
  explicit Vit(const Checkpoint& checkpoint, at::ScalarType dtype = at::kFloat);
  /// New weights, N(0, initializer_deviation²).
  Vit(const VitConfig& config, std::uint64_t seed, at::ScalarType dtype = at::kFloat);

  /// images: normalised pixels [batch, channels, height, width], floating. Returns the final normalised hidden states
  /// [batch, tokens, hidden]. `visit` is called with each layer's attention input, a part of the graph. Throws Error for images
  /// of another size than the model's.
  at::Tensor forward(const at::Tensor& images, const LayerVisitor& visit = {}) const;
  /// forward() without gradients and dropout, calling `visit` with each layer's attention input on the way; softmax_only runs
  /// softmax attention in every layer whatever is installed (the teacher).
  at::Tensor forward_visiting(const at::Tensor& images, bool softmax_only, const LayerVisitor& visit) const;
  /// [batch, labels] from hidden states [batch, tokens, hidden]; of DeiT's two classifiers the mean. Throws Error if there is
  /// no classifier.
  at::Tensor class_logits(const at::Tensor& hidden) const;

  /// Makes the classifier on the class token anew for so many labels, in place of what there is.
  void start_classifier(std::int64_t labels, std::uint64_t seed);

  /// Swaps every layer's attention for the bidirectional form of `config` (what `keep_softmax` names stays). Weights start
  /// anew.
  void set_attention(const AttentionConfig& config, const std::vector<KeptSoftmax>& keep_softmax = {}) {
    encoder_.set_attention(config, keep_softmax);
  }
  /// A copy that shares all weights but has softmax attention, no LoRA and no dropout: the teacher.
  Vit teacher() const;

  const VitConfig& config() const { return config_; }
  std::vector<EncoderLayer>& layers() { return encoder_.layers; }
  const std::vector<EncoderLayer>& layers() const { return encoder_.layers; }
  at::ScalarType dtype() const { return class_token_.scalar_type(); }

  /// Every weight of the base model by its Hugging Face name (no LoRA, no attention weights).
  std::vector<std::pair<std::string, at::Tensor*>> weights();
  static const EncoderNames& layer_names();  // below "vit.encoder.layer.3." or "deit.encoder.layer.3."

  /// Set: training. forward() drops out what the configuration says, by masks that depend on this number alone; another one for
  /// each step.
  std::optional<std::uint64_t> dropout_seed;
  /// Of the activations between the embeddings and the heads, to which weights are rounded on their way (mixed precision:
  /// gradients and updates stay in the weights' dtype). Unset: the weights' own.
  std::optional<at::ScalarType> compute_dtype;
  AttentionControl control = AttentionControl::kNone;

 private:
  void visit_weights(const WeightVisitor& visit);
  at::Tensor embed(const at::Tensor& images, Dropout& dropout) const;
  at::Tensor final_norm(const at::Tensor& hidden) const;
  bool distilled() const { return config_.model_type == "deit"; }

  VitConfig config_;
  at::Tensor class_token_, distillation_token_;  // [1, 1, hidden]; the second one of DeiT only
  at::Tensor positions_;                         // [1, tokens, hidden]
  at::Tensor patch_weight_, patch_bias_;         // [hidden, channels, patch_height, patch_width], [hidden]
  Encoder encoder_;
  LayerNorm norm_;
  Linear classifier_, distillation_classifier_;
};

}  // namespace hedgehog

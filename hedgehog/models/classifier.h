// A model that gives each example one label or number: BERT on texts, ViT on images, a causal decoder on what follows its last
// token. What tasks are trained on and converted with.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/models/layer_attention.h"
#include "hedgehog/models/layer_visitor.h"

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

/// A batch of examples; what a model does not read is undefined.
struct ClassifierInput {
  at::Tensor tokens;       // int64 [batch, length]; of pairs the first ones' rows, then the second ones'
  at::Tensor token_types;  // int64 [batch, length]; undefined: 0
  at::Tensor key_count;    // int32 [batch]: tokens from this one on are padding; undefined: none is
  at::Tensor images;       // fp32 [batch, channels, height, width], normalised
};

struct LabelledLogits {
  at::Tensor logits, labels;
};

class Classifier {
 public:
  virtual ~Classifier() = default;
  /// Logits [batch, labels]; of a regression the number, [batch, 1]. Differentiable, and what `visit` sees of each layer, too.
  virtual at::Tensor forward(const ClassifierInput& input, const LayerVisitor& visit = {}) const = 0;
  /// What training compares: logits [rows, labels] and their labels, int64 [rows] (of a regression the numbers, fp32). An
  /// encoder's rows are the examples; a decoder is taught every token that follows another, and after the last one the label.
  virtual LabelledLogits labelled_logits(const ClassifierInput& input, const at::Tensor& labels,
                                         const LayerVisitor& visit = {}) const {
    return {forward(input, visit), labels};
  }
  /// The softmax model on the batch, no gradients, no dropout: `visit` gets each layer's attention input.
  virtual void visit_teacher(const ClassifierInput& input, const LayerVisitor& visit) const = 0;

  /// A copy with softmax attention and no dropout that shares no weights: the teacher.
  virtual std::unique_ptr<Classifier> teacher() const = 0;

  /// One a layer.
  virtual std::vector<Attention*> attentions() = 0;
  /// Swaps every layer's attention for `config`, in the causal or bidirectional form that the model has; weights start anew.
  virtual void set_attention(AttentionConfig config, const std::vector<KeptSoftmax>& keep_softmax = {}) = 0;
  /// Every weight by its Hugging Face name, the attentions' own not among them.
  virtual std::vector<std::pair<std::string, at::Tensor*>> weights() = 0;
  /// Set: training, with dropout by masks that depend on this number.
  virtual void set_dropout_seed(std::optional<std::uint64_t> seed) = 0;
  /// Mixed precision: what all passes compute in; unset: the weights' own dtype, fp32. Logits are fp32 but a decoder's.
  virtual void set_compute_dtype(std::optional<at::ScalarType> dtype) = 0;

  virtual std::int64_t labels() const = 0;
  /// As in config.json.
  virtual nlohmann::json config() const = 0;
};

/// "bert", "vit", "deit" and decoders' checkpoints and what write_classifier() wrote. With `labels` > 0 an encoder's classifier
/// of another size is made anew from `seed`; with 0 one has to be there. Throws Error for another model_type.
std::unique_ptr<Classifier> load_classifier(const Checkpoint& checkpoint, std::int64_t labels, std::uint64_t seed);

/// A model to be trained from scratch, as `config`, a config.json, says; also a decoder's, whose labels are its vocabulary.
std::unique_ptr<Classifier> make_classifier(const nlohmann::json& config, std::uint64_t seed);

/// A Hugging Face directory: config.json, with the attention under "hedgehog", and model.safetensors, with the attention's
/// weights under "hedgehog.". `description` joins the "hedgehog" object.
void write_classifier(const std::filesystem::path& directory, Classifier& model, nlohmann::json description);

/// All that training may change: weights() and the attentions' own, "layers.3.attention.q_map.weight".
std::vector<std::pair<std::string, at::Tensor*>> all_weights(Classifier& model);

}  // namespace hedgehog

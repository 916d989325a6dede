// BERT (arXiv 1810.04805) and encoders of its shape (MiniLM and others whose model_type is "bert"): word, position and token
// type embeddings, blocks with the norm behind the sum, a pooler, heads for classification or regression and for masked words.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/models/encoder.h"

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

struct BertConfig {
  EncoderConfig encoder;
  std::int64_t vocabulary = 0, max_positions = 512, token_types = 2;
  std::int64_t padding_token = 0;  // its embedding gets no gradient; -1: there is none
  double classifier_dropout = 0;
  // Of two texts, rows i and batch / 2 + i, from their pooled x and y: [x, y, x ∗ y, x − y] (Long Range Arena's Retrieval).
  bool pair_classifier = false;
  bool tied_embeddings = true;  // the masked-word head's matrix is the word embedding
  // What the model has beside embeddings and blocks; of a checkpoint: what its file holds.
  bool pooler = true, classifier = true, masked_words = true;
};

/// Throws Error that names the key for another model_type, an unknown activation, relative positions, a decoder, a missing or
/// senseless value.
BertConfig bert_config(const nlohmann::json& config);

/// A batch of texts. All but the tokens may be undefined.
struct BertInput {
  at::Tensor tokens;              // int64 [batch, length]
  at::Tensor token_types = {};    // int64 [batch, length]; undefined: 0
  at::Tensor key_count = {};      // int32 or int64 [batch]: tokens from this one on are padding; undefined: none is
  at::Tensor segment_start = {};  // packed documents, as in AttentionInput: positions restart in each; undefined: one a row
};

class Bert {
 public:
  /// Loads and checks every tensor of the encoder and of the heads that the file has, named with or without "bert.", norms as
  /// "LayerNorm.weight" or, as in old files, "LayerNorm.gamma". Weights in `dtype` (fp32 or bf16), no gradients; softmax
  /// attention everywhere. Throws Error for a missing tensor or a wrong shape, naming it and the file.
  explicit Bert(const Checkpoint& checkpoint, at::ScalarType dtype = at::kFloat);
  /// New weights, N(0, initializer_deviation²).
  Bert(const BertConfig& config, std::uint64_t seed, at::ScalarType dtype = at::kFloat);

  /// The last block's hidden states [batch, length, hidden]; rows of padding mean nothing. `visit` is called with each layer's
  /// attention input, a part of the graph. Throws Error for tokens that are not in the vocabulary and texts longer than
  /// max_positions.
  at::Tensor forward(const BertInput& input, const LayerVisitor& visit = {}) const;
  /// forward() without gradients and dropout, calling `visit` with each layer's attention input on the way; softmax_only runs
  /// softmax attention in every layer whatever is installed (the teacher).
  at::Tensor forward_visiting(const BertInput& input, bool softmax_only, const LayerVisitor& visit) const;
  /// tanh(W h₀ + b) of the first token's hidden state: [batch, hidden] from hidden states [batch, length, hidden]. Of packed
  /// documents the caller picks the first rows: [documents, 1, hidden].
  at::Tensor pooled(const at::Tensor& hidden) const;
  /// [batch, labels] from hidden states [batch, length, hidden], by way of pooled(); of a pair_classifier [batch / 2, labels].
  /// Throws Error if there is no classifier.
  at::Tensor class_logits(const at::Tensor& hidden) const;
  /// [..., vocabulary] from hidden states [..., hidden]: each row's word. Throws Error if there is no such head.
  at::Tensor masked_word_logits(const at::Tensor& hidden) const;

  /// Makes the classifier anew for so many labels (1: regression), and the pooler where there is none.
  void start_classifier(std::int64_t labels, std::uint64_t seed);

  /// Swaps every layer's attention for the bidirectional form of `config` (what `keep_softmax` names stays). Weights start
  /// anew.
  void set_attention(const AttentionConfig& config, const std::vector<KeptSoftmax>& keep_softmax = {}) {
    encoder_.set_attention(config, keep_softmax);
  }
  /// A copy that shares all weights but has softmax attention, no LoRA and no dropout: the teacher.
  Bert teacher() const;

  const BertConfig& config() const { return config_; }
  std::vector<EncoderLayer>& layers() { return encoder_.layers; }
  const std::vector<EncoderLayer>& layers() const { return encoder_.layers; }
  at::ScalarType dtype() const { return words_.scalar_type(); }

  /// Every weight of the base model by its Hugging Face name (no LoRA, no attention weights).
  std::vector<std::pair<std::string, at::Tensor*>> weights();
  static const EncoderNames& layer_names();  // below "bert.encoder.layer.3."

  /// Set: training. forward() and class_logits() drop out what the configuration says, by masks that depend on this number
  /// alone; another one for each step.
  std::optional<std::uint64_t> dropout_seed;
  /// Of the activations between the embeddings and the heads, to which weights are rounded on their way (mixed precision:
  /// gradients and updates stay in the weights' dtype). Unset: the weights' own.
  std::optional<at::ScalarType> compute_dtype;
  AttentionControl control = AttentionControl::kNone;

 private:
  void visit_weights(const WeightVisitor& visit);
  void visit_pooler(const WeightVisitor& visit);
  void visit_classifier(const WeightVisitor& visit);
  at::Tensor embed(const BertInput& input, Dropout& dropout) const;

  BertConfig config_;
  at::Tensor words_, positions_, types_;  // embeddings [vocabulary | max_positions | token_types, hidden]
  LayerNorm embedding_norm_;
  Encoder encoder_;
  Linear pooler_, classifier_;
  Linear transform_;  // of the masked-word head, followed by its norm
  LayerNorm transform_norm_;
  Linear word_output_;  // the weight is undefined when tied
};

}  // namespace hedgehog

// A causal language model: the Llama family and GPT-2. Embedding, decoder blocks (decoder_layer.h), norm, logits. What a family
// is, its config.json and its tensors, stands in its own file (llama.h, gpt2.h). Each layer's attention is a part that can be
// swapped (attention/attention.h).
#pragma once

#include "hedgehog/attention/attention.h"
#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/models/layer_attention.h"
#include "hedgehog/models/layer_visitor.h"
#include "hedgehog/models/linear.h"
#include "hedgehog/models/rotary.h"
#include "hedgehog/models/weight_visitor.h"

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

struct DecoderConfig {
  std::string model_type;  // "llama", "mistral", "qwen2", "qwen3", "gpt2"
  std::int64_t vocabulary = 0, hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t max_positions = 0;
  double norm_epsilon = 1e-5;
  RotaryConfig rotary;              // unless positions are learned
  bool learned_positions = false;   // a vector for each of max_positions, added to the embedding
  bool layer_norm = false;          // LayerNorm with bias in place of RMSNorm
  std::string activation = "silu";  // "silu": the gated MLP down(silu(gate) · up); all others: down(activation(up))
  bool qkv_bias = false, output_bias = false, mlp_bias = false, qk_norm = false, tied_embeddings = false;
  double initializer_deviation = 0.02;  // of new matrices
  std::vector<std::int64_t> windows;    // per layer, 0: full attention (Mistral, Qwen2's max_window_layers)
};

/// config.json of a family that is known. Throws Error that names the key for a model_type, activation or rope_type that is
/// not known, a missing or senseless value.
DecoderConfig decoder_config(const nlohmann::json& config);

/// The checkpoint's tensors by Llama's names, whatever names and layout its family has.
std::shared_ptr<const TensorSource> decoder_tensors(const Checkpoint& checkpoint);

struct Norm {
  at::Tensor weight;  // [dim]
  at::Tensor bias;    // [dim], LayerNorm only
};

struct DecoderLayer {
  Norm input_norm, post_attention_norm;  // of hidden
  at::Tensor q_norm, k_norm;             // [head_dim], Qwen3 only
  Linear q, k, v, o, gate, up, down;     // gate: without a weight where the MLP has none
  Attention attention;
};

/// The residual stream between blocks; the last addition is left to the norm that follows, which does both in one pass.
struct Residual {
  at::Tensor hidden;  // [batch, length, hidden]
  at::Tensor delta;   // the same, still to be added; undefined before the first block
};

/// A forward pass on its way through the layers. Copies share their tensors, so that many may go on from one place.
struct DecoderPass {
  at::Tensor segment_start;
  std::optional<RotaryTable> rotary;
  Residual residual;
};

class Decoder {
 public:
  /// Loads and checks every tensor. Weights in `dtype` (fp32 or bf16), no gradients. Softmax attention everywhere.
  /// Throws Error for a missing tensor or a wrong shape, naming it and the file.
  Decoder(const Checkpoint& checkpoint, at::ScalarType dtype = at::kFloat);
  /// A model to be trained from scratch, fp32: matrices N(0, initializer_deviation²), GPT-2's that end a residual branch 1/√(2
  /// · layers) of that, biases 0, norms 1.
  Decoder(const DecoderConfig& config, std::uint64_t seed);

  /// tokens: int64 [batch, length]; segment_start as in AttentionInput, positions restart in each document. Returns the final
  /// normalised hidden states [batch, length, hidden]. `visit` is called with each layer's attention input, a part of the
  /// graph. With `gradient_checkpointing` layers are recomputed in the backward pass, and nothing can be visited.
  at::Tensor forward(const at::Tensor& tokens, const at::Tensor& segment_start = {}, const LayerVisitor& visit = {}) const;
  /// forward() without gradients, calling `visit` with each layer's attention input on the way; softmax_only runs softmax
  /// attention in every layer whatever is installed (the teacher).
  at::Tensor forward_visiting(const at::Tensor& tokens, const at::Tensor& segment_start, bool softmax_only,
                              const LayerVisitor& visit) const;
  /// forward() without gradients in parts: its beginning, the layers from `first` to `end`, its end.
  DecoderPass begin_pass(const at::Tensor& tokens, const at::Tensor& segment_start) const;
  void run_layers(DecoderPass& pass, std::int64_t first, std::int64_t end) const;
  at::Tensor end_pass(const DecoderPass& pass) const;
  /// Chunked or recurrent form: tokens [batch, n] continue `states` (one per layer; empty at the start), no gradients.
  at::Tensor continue_from(std::vector<AttentionState>& states, const at::Tensor& tokens) const;
  /// [..., vocabulary] from hidden states [..., hidden].
  at::Tensor logits(const at::Tensor& hidden) const;

  /// Swaps every layer's attention for `config` (what `keep_softmax` names stays). Weights start anew.
  void set_attention(const AttentionConfig& config, const std::vector<KeptSoftmax>& keep_softmax = {});
  /// A copy that shares all weights but has softmax attention and no LoRA: the teacher.
  Decoder teacher() const;

  const DecoderConfig& config() const { return config_; }
  std::vector<DecoderLayer>& layers() { return layers_; }
  const std::vector<DecoderLayer>& layers() const { return layers_; }
  /// The matrix that logits multiplies with, [vocabulary, hidden]: the embedding when tied.
  const at::Tensor& output_weight() const { return tied() ? embedding_ : output_; }
  at::ScalarType dtype() const { return embedding_.scalar_type(); }

  /// Every weight of the base model by Llama's Hugging Face name (no LoRA, no attention weights).
  std::vector<std::pair<std::string, at::Tensor*>> weights();

  bool gradient_checkpointing = false;
  /// Of the activations between the embeddings and the heads, to which weights are rounded on their way (mixed precision:
  /// gradients and updates stay in the weights' dtype). Unset: the weights' own.
  std::optional<at::ScalarType> compute_dtype;
  AttentionControl control = AttentionControl::kNone;

 private:
  void make_layers();
  void run_layer(DecoderPass& pass, std::size_t layer, const std::function<at::Tensor(const AttentionInput&)>& attend) const;
  void visit_weights(const WeightVisitor& visit);
  // Tokens' vectors, with those of their positions where these are learned.
  at::Tensor embed(const at::Tensor& tokens, const at::Tensor& positions) const;
  bool tied() const { return config_.tied_embeddings; }

  DecoderConfig config_;
  at::Tensor embedding_, position_embedding_, output_;
  Norm norm_;
  std::vector<DecoderLayer> layers_;
};

}  // namespace hedgehog

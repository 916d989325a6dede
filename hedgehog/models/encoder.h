// The encoder that BERT and ViT share: a stack of bidirectional Transformer blocks, each with an attention that can be swapped.
//   norms behind (BERT):   h ← LN₁(h + O attention(Q h, K h, V h));          h ← LN₂(h + D act(U h))
//   norms in front (ViT):  h ← h + O attention(Q n, K n, V n), n = LN₁(h);   h ← h + D act(U m), m = LN₂(h)
#pragma once

#include "hedgehog/attention/attention.h"
#include "hedgehog/models/dropout.h"
#include "hedgehog/models/json_fields.h"
#include "hedgehog/models/layer_attention.h"
#include "hedgehog/models/layer_visitor.h"
#include "hedgehog/models/linear.h"
#include "hedgehog/models/weight_visitor.h"

#include <ATen/core/Tensor.h>

#include <array>
#include <string>
#include <vector>

namespace hedgehog {

struct EncoderConfig {
  std::int64_t hidden = 0, intermediate = 0, layers = 0, heads = 0;
  double norm_epsilon = 1e-12;
  std::string activation = "gelu";  // exact; "gelu_new", "gelu_pytorch_tanh": by tanh; "relu"
  bool qkv_bias = true;
  // Of the embeddings and of what each half of a block adds, in training. Dropout of attention's weights
  // (attention_probs_dropout_prob) is left out: linear attention has no such weights to drop.
  double dropout = 0;
  std::int64_t labels = 2;              // of the classifier; 1: regression
  double initializer_deviation = 0.02;  // of new weights
};

/// Where a block has its two norms: behind each sum (BERT), or in front of attention and MLP (ViT).
enum class NormPlace { kBehind, kInFront };

/// What BERT's and ViT's config.json have in common. Throws Error that names the key.
EncoderConfig encoder_config(const JsonFields& fields);

/// LN(x) = w · (x − mean) / sqrt(variance + ε) + b over the last dimension.
struct LayerNorm {
  at::Tensor weight, bias;  // [dim]
  at::Tensor forward(const at::Tensor& x, double epsilon) const;
};

struct EncoderLayer {
  LayerNorm attention_norm, output_norm;  // LN₁, LN₂
  Linear q, k, v, o, up, down;
  Attention attention;
};

/// A linear of the block: our short name (adapters use it), the member.
struct EncoderLinear {
  const char* name;
  Linear EncoderLayer::*member;
};

inline constexpr std::array<EncoderLinear, 6> kEncoderLinears{{{"q", &EncoderLayer::q},
                                                               {"k", &EncoderLayer::k},
                                                               {"v", &EncoderLayer::v},
                                                               {"o", &EncoderLayer::o},
                                                               {"up", &EncoderLayer::up},
                                                               {"down", &EncoderLayer::down}}};

/// Hugging Face's names of a block's parts in one family; `linears` in kEncoderLinears' order.
struct EncoderNames {
  std::array<const char*, 6> linears;
  const char* attention_norm;
  const char* output_norm;
};

/// What a pass over the blocks is given besides the hidden states.
struct EncoderPass {
  at::Tensor segment_start, key_count;  // as in AttentionInput
  AttentionControl control = AttentionControl::kNone;
  bool softmax_only = false;  // softmax attention in every layer whatever is installed (the teacher)
  LayerVisitor visit = {};
};

class Encoder {
 public:
  /// Blocks with softmax attention and without weights.
  Encoder(const EncoderConfig& config, NormPlace place);

  /// hidden [batch, length, hidden] through all blocks, in its dtype. Differentiable.
  at::Tensor forward(at::Tensor hidden, const EncoderPass& pass, Dropout& dropout) const;

  /// Swaps every layer's attention for the bidirectional form of `config` (what `keep_softmax` names stays softmax). Weights
  /// start anew. Throws Error for a form that is causal only (hybrid, gated), or a layer that is not there.
  void set_attention(const AttentionConfig& config, const std::vector<KeptSoftmax>& keep_softmax);
  /// Softmax attention and no LoRA.
  void become_teacher();

  /// Every weight of every block, "<prefix>3.<name>".
  void visit_weights(const std::string& prefix, const EncoderNames& names, const WeightVisitor& visit);

  std::vector<EncoderLayer> layers;

 private:
  EncoderConfig config_;
  NormPlace place_;
};

/// The weights of one linear or norm, by `visit`.
void visit_linear(const std::string& name, Linear& linear, std::int64_t out, std::int64_t in, const WeightVisitor& visit);
void visit_norm(const std::string& name, LayerNorm& norm, std::int64_t dim, const WeightVisitor& visit);

}  // namespace hedgehog

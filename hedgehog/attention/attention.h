// One layer's attention as a part that models take: softmax, linear or hybrid, with its own few weights, in the chunked form
// (training, prefill) and the recurrent form (decoding). docs/architecture.md has the formulas.
#pragma once

#include "hedgehog/attention/attention_operator.h"
#include "hedgehog/attention/feature_map.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

enum class AttentionKind { kSoftmax, kLinear, kHybrid };

/// "softmax", "linear", "hybrid". Throws Error for any other name.
AttentionKind attention_kind(const std::string& name);
std::string to_string(AttentionKind kind);

/// What shapes one layer's attention. Everything but the kind is ignored by softmax, save `window`.
struct AttentionConfig {
  AttentionKind kind = AttentionKind::kSoftmax;
  std::string feature_map = "hedgehog-softmax";  // a name of attention/feature_map.h
  std::int64_t feature_dim = 0;                  // M, rows of W; 0 means D. F = 2·M for the Hedgehog maps, M for t2r
  std::int64_t window = 0;  // softmax: 0 means all keys (Mistral sets it); hybrid: exact keys, the own one counted
  std::int64_t sinks = 0;   // hybrid: the document's first keys, kept exact
  bool gate = false;        // scalar decay gate γ_i = σ(w·x_i/√hidden + 10 b) on the state, one per key/value head
  bool causal = true;
  std::vector<std::int64_t> softmax_heads = {};  // key/value heads that keep softmax over all keys, in order; not all of them
  bool operator==(const AttentionConfig&) const = default;
};

/// What one call sees. Tensors are fp32 or bf16, q and k after the position encoding.
struct AttentionInput {
  at::Tensor q;     // [batch, heads, length, dim]
  at::Tensor k, v;  // [batch, kv_heads, length, dim]
  at::Tensor x;     // [batch, length, hidden]: the layer's normalised input; used by the gate only
  at::Tensor
      segment_start;  // int32 [batch, length]: first position of the document that a row belongs to; undefined: one document
  at::Tensor key_count = {};  // int32 [batch]: keys from this one on are padding, bidirectional only; undefined: none is
};

/// Which parts of a hybrid or linear attention are left out: the controls of a report.
enum class AttentionControl { kNone, kLinearRemoved, kWindowRemoved, kNoAttention };

/// What decoding carries from token to token; fixed in size but for softmax without a window. Undefined tensors at the start.
/// A call that continues it may write into the tensors that are there: copies of a state share them.
struct AttentionState {
  at::ScalarType dtype = at::kFloat;  // that the linear state is to be kept in: kFloat, kBFloat16 or kChar (int8)
  OperatorState linear;               // Σ φ(k) vᵀ [batch, kv_heads, F, dim], its scales (int8), Σ φ(k)
  at::Tensor log_scale;               // fp32 [batch, kv_heads]: running maximum that it is scaled by (maps of exp form)
  at::Tensor window_k, window_v;  // [batch, kv_heads, rows, dim]: the last keys (softmax without window: all, rows is capacity)
  at::Tensor window_phi;          // fp32 [batch, kv_heads, rows, F]: features of the window's keys (maps of exp form)
  at::Tensor window_log_scale;    // fp32 [batch, kv_heads, rows], maps of exp form
  at::Tensor window_log_gate;     // fp32 [batch, kv_heads, rows], when gated
  at::Tensor sink_k, sink_v;      // [batch, kv_heads, sinks, dim]
  at::Tensor softmax_k, softmax_v;  // [batch, softmax_heads, capacity, dim]: all keys of those; kv_heads above are the others
  std::int64_t position = 0;        // tokens seen

  std::vector<at::Tensor*> tensors();  // all above that are defined; dimension 0 is the batch
  std::int64_t bytes() const;          // of them
};

class Attention {
 public:
  /// Weights start as the identity map (W = I, b = 0; rows beyond D: rotations), the gate forgetting
  /// slowly (γ = σ(4)), mixing factor 1. Heads that keep softmax have weights, too, which nothing reads or trains.
  Attention(const AttentionConfig& config, std::int64_t heads, std::int64_t kv_heads, std::int64_t dim, std::int64_t hidden);

  const AttentionConfig& config() const { return config_; }
  std::int64_t kv_heads() const { return kv_heads_; }
  /// Whether it has a map whose weights learn, and these of the queries [heads, M, D] and of the keys [kv_heads, M, D]: tensors
  /// that share their memory.
  bool learns_map() const { return map_.map != nullptr && map_.learns(); }
  const MapWeights& query_map() const { return q_map_; }
  const MapWeights& key_map() const { return k_map_; }
  /// The query heads whose key/value heads keep softmax beside linear ones, int64 [n]; undefined if there are none.
  const at::Tensor& softmax_heads() const { return softmax_q_; }
  /// A new one of the same heads.
  Attention with_config(const AttentionConfig& config) const { return {config, heads_, kv_heads_, dim_, hidden_}; }

  /// [batch, heads, length, dim] in the dtype of q. Differentiable in q, k, v, x and the weights. O(length) memory, but for
  /// bidirectional softmax of packed documents. Rows of padding get the output of a query there; without any key it is 0.
  at::Tensor forward(const AttentionInput& input, AttentionControl control = AttentionControl::kNone) const;

  /// forward() over a whole number of rows that continue `state`, which is brought up to date. No gradient. One document.
  /// Length 1 is the recurrent form, more the chunked one.
  at::Tensor continue_from(AttentionState& state, const AttentionInput& input) const;

  /// The features, log scales and log gates that forward() hands to the operator, differentiable in the weights; for analysis
  /// too. Heads that keep softmax are there in the form that they would have without.
  OperatorInput operator_input(const AttentionInput& input) const;

  /// Feature-map weights, gate, mixing factor: fp32 leaves, by names such as "q_map.weight" [heads, M, D].
  std::vector<std::pair<std::string, at::Tensor*>> parameters();

  /// What a distillation step returns besides the gradients that it leaves in the parameters' .grad(). Rows of padding
  /// (key_count) do not count.
  struct DistillationLoss {
    double cross_entropy = 0;  // mean over rows of −Σ_j p_ij log a_ij
    double kl = 0;             // the same minus softmax's entropy
    double output_error = 0;   // mean of |y − ŷ|² over rows, divided by the mean of |y|²
  };
  /// Loss of this attention against softmax on the same q, k, v in O(length) memory, and its gradient for the parameters:
  /// weights_factor · cross-entropy + output_factor · output error. The gradient is added to .grad() scaled by
  /// `gradient_scale`. With gradient_scale 0 only the loss is computed. With weights_factor 0 no tile of weights is.
  /// `teacher_window`: softmax sees this many last keys, the own one counted (Mistral), 0: all. `chosen`: the rows that count.
  /// Heads that keep softmax do not count.
  DistillationLoss distill(const AttentionInput& input, double weights_factor, double output_factor, double gradient_scale,
                           std::int64_t teacher_window = 0, const QueryRows& chosen = {});

 private:
  // φ divided by exp of its own log scale.
  Features query_features(const at::Tensor& q, const at::Tensor& positions) const;
  Features key_features(const at::Tensor& k, const at::Tensor& positions) const;
  // Places in the document [batch or 1, length] of rows that begin at `first`; undefined where the map does not need them.
  at::Tensor positions(const AttentionInput& input, std::int64_t first) const;
  at::Tensor log_gate(const AttentionInput& input) const;  // log γ [batch, kv_heads, length], undefined without a gate
  OperatorInput featureless_input(const AttentionInput& input) const;  // operator_input() without φ
  OperatorMap operator_map() const;
  // operator_input(), with the map left to the kernel where that knows it.
  OperatorInput mapped_input(const AttentionInput& input) const;
  // [batch, heads, length]: ℓ_i = w·q_i/√D + b, the log of the linear part's factor beside exact keys. Softmax's mass on far
  // keys, Σ_j exp(q_i·k_j/√D), grows with q_i·mean(k); maps of softmax form have no such scale of their own.
  at::Tensor mixing(const at::Tensor& q) const;
  at::Tensor continue_mixed(AttentionState& state, const AttentionInput& input) const;
  at::Tensor continue_softmax(AttentionState& state, const AttentionInput& input) const;
  at::Tensor continue_linear(AttentionState& state, const AttentionInput& input) const;
  at::Tensor bidirectional_softmax(const AttentionInput& input) const;
  // A layer with softmax heads is two layers of fewer heads, whose outputs are put together again (mixed_heads.cc).
  bool mixed() const { return softmax_q_.defined(); }
  void choose_heads();
  Attention linear_part() const;
  Attention softmax_part() const;
  at::Tensor put_together(const at::Tensor& linear, const at::Tensor& softmax) const;
  bool short_for_features(const AttentionInput& input) const;  // direct.h's form is the cheaper one
  bool hybrid() const { return config_.kind == AttentionKind::kHybrid; }

  AttentionConfig config_;
  std::int64_t heads_, kv_heads_, dim_, hidden_;
  FeatureMap map_;
  MapWeights q_map_, k_map_;            // of `heads` and of `kv_heads` heads
  at::Tensor mix_weight_, mix_bias_;    // [heads, D], [heads]: see mixing() (hybrid)
  at::Tensor gate_weight_, gate_bias_;  // [kv_heads, hidden], [kv_heads]
  // Heads of the two parts, and where each query head is when both have been joined; int64, undefined unless mixed().
  at::Tensor softmax_q_, softmax_kv_, linear_q_, linear_kv_, joined_;
};

}  // namespace hedgehog

// One decoder block of the Llama family, and the table of its linears:
//   h ← h + O attention(rope(Q n), rope(K n), V n),  n = rms_norm(h);   h ← h + D (silu(G m) · U m),  m = rms_norm(h).
#pragma once

#include "hedgehog/models/llama.h"

#include <array>
#include <functional>

namespace hedgehog {

/// A linear of the block: our short name (adapters use it), Hugging Face's, the member.
struct LinearSlot {
  const char* name;
  const char* hugging_face;
  Linear LlamaLayer::*member;
};

inline constexpr std::array<LinearSlot, 7> kLinearSlots{{{"q", "self_attn.q_proj", &LlamaLayer::q},
                                                         {"k", "self_attn.k_proj", &LlamaLayer::k},
                                                         {"v", "self_attn.v_proj", &LlamaLayer::v},
                                                         {"o", "self_attn.o_proj", &LlamaLayer::o},
                                                         {"gate", "mlp.gate_proj", &LlamaLayer::gate},
                                                         {"up", "mlp.up_proj", &LlamaLayer::up},
                                                         {"down", "mlp.down_proj", &LlamaLayer::down}}};

/// What a block needs to know of its model.
struct LayerShape {
  std::int64_t heads, kv_heads, head_dim;
  double norm_epsilon;
};

/// The residual stream between blocks; the last addition is left to the norm that follows, which does both in one pass.
struct Residual {
  at::Tensor hidden;  // [batch, length, hidden]
  at::Tensor delta;   // the same, still to be added; undefined before the first block
};

using Attend = std::function<at::Tensor(const AttentionInput&)>;

Residual layer_forward(const LlamaLayer& layer, const LayerShape& shape, const RotaryTable& table,
                       const at::Tensor& segment_start, const Residual& residual, const Attend& attend);

/// The sum and its norm: {hidden + delta, rms_norm(hidden + delta)}.
std::pair<at::Tensor, at::Tensor> norm_residual(const Residual& residual, const at::Tensor& weight, double epsilon);

}  // namespace hedgehog

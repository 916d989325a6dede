// One decoder block, and the table of its linears:
//   h ← h + O attention(rope(Q n), rope(K n), V n),  n = norm(h);   h ← h + D (silu(G m) · U m),  m = norm(h),
// where positions are learned without rope, where the MLP is not gated D activation(U m).
#pragma once

#include "hedgehog/models/decoder.h"

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

/// A linear of the block: our short name (adapters use it), Hugging Face's, the member.
struct LinearSlot {
  const char* name;
  const char* hugging_face;
  Linear DecoderLayer::*member;
};

inline constexpr std::array<LinearSlot, 7> kLinearSlots{{{"q", "self_attn.q_proj", &DecoderLayer::q},
                                                         {"k", "self_attn.k_proj", &DecoderLayer::k},
                                                         {"v", "self_attn.v_proj", &DecoderLayer::v},
                                                         {"o", "self_attn.o_proj", &DecoderLayer::o},
                                                         {"gate", "mlp.gate_proj", &DecoderLayer::gate},
                                                         {"up", "mlp.up_proj", &DecoderLayer::up},
                                                         {"down", "mlp.down_proj", &DecoderLayer::down}}};

/// What a block needs to know of its model.
struct LayerShape {
  std::int64_t heads, kv_heads, head_dim;
  double norm_epsilon;
  std::string activation;
};

using Attend = std::function<at::Tensor(const AttentionInput&)>;

/// `table`: undefined where positions are learned.
Residual layer_forward(const DecoderLayer& layer, const LayerShape& shape, const std::optional<RotaryTable>& table,
                       const at::Tensor& segment_start, const Residual& residual, const Attend& attend);

/// The sum and its norm: {hidden + delta, norm(hidden + delta)}.
std::pair<at::Tensor, at::Tensor> norm_residual(const Residual& residual, const Norm& norm, double epsilon);

}  // namespace hedgehog

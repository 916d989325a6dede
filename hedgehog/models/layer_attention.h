// Which attention each layer of a model gets.
#pragma once

#include "hedgehog/attention/attention.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace hedgehog {

/// What stays softmax in a converted model: a layer, or one of its key/value heads.
struct KeptSoftmax {
  std::int64_t layer = 0, head = -1;  // -1: all heads
  bool operator==(const KeptSoftmax&) const = default;
  bool operator<(const KeptSoftmax& other) const { return std::tie(layer, head) < std::tie(other.layer, other.head); }
};
/// "7", or "7.2" of head 2. Throws Error for other text.
KeptSoftmax kept_softmax(const std::string& text);
std::string to_string(const KeptSoftmax& kept);
void to_json(nlohmann::json& json, const KeptSoftmax& kept);

/// Throws Error unless the layer and the head are there.
void check_kept(const KeptSoftmax& kept, std::int64_t layers, std::int64_t kv_heads);

/// `config` with softmax in that head too (-1: in all); softmax when none of `kv_heads` is left.
AttentionConfig with_softmax_head(AttentionConfig config, std::int64_t head, std::int64_t kv_heads);

/// The attention with another config and, where that has as many of them, its own weights, shared.
Attention reconfigured(Attention attention, const AttentionConfig& config);

/// `config` for each of `layers`, but for what `keep_softmax` names. Throws Error for a layer or head that is not there.
std::vector<AttentionConfig> layer_attention(const AttentionConfig& config, const std::vector<KeptSoftmax>& keep_softmax,
                                             std::int64_t layers, std::int64_t kv_heads);

}  // namespace hedgehog

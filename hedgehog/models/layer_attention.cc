#include "hedgehog/models/layer_attention.h"

#include "hedgehog/base/error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

namespace hedgehog {

KeptSoftmax kept_softmax(const std::string& text) {
  KeptSoftmax kept;
  const char* const end = text.data() + text.size();
  std::from_chars_result read = std::from_chars(text.data(), end, kept.layer);
  const bool has_head = read.ec == std::errc() && read.ptr != end && *read.ptr == '.';
  if (has_head) read = std::from_chars(read.ptr + 1, end, kept.head);
  check(read.ec == std::errc() && read.ptr == end && kept.layer >= 0 && (!has_head || kept.head >= 0),
        "what keeps softmax: expected a layer such as 7, or a key/value head of it such as 7.2, found '{}'", text);
  return kept;
}

std::string to_string(const KeptSoftmax& kept) {
  return kept.head < 0 ? std::to_string(kept.layer) : fmt::format("{}.{}", kept.layer, kept.head);
}

void to_json(nlohmann::json& json, const KeptSoftmax& kept) {
  if (kept.head < 0) {
    json = kept.layer;
  } else {
    json = to_string(kept);
  }
}

void check_kept(const KeptSoftmax& kept, std::int64_t layers, std::int64_t kv_heads) {
  check(kept.layer >= 0 && kept.layer < layers, "layers that keep softmax should be from 0 to {}, found {}", layers - 1,
        kept.layer);
  check(kept.head < kv_heads, "layer {}: key/value heads that keep softmax should be from 0 to {}, found {}", kept.layer,
        kv_heads - 1, kept.head);
}

AttentionConfig with_softmax_head(AttentionConfig config, std::int64_t head, std::int64_t kv_heads) {
  if (config.kind == AttentionKind::kSoftmax) return config;
  std::vector<std::int64_t>& heads = config.softmax_heads;
  if (head >= 0 && std::find(heads.begin(), heads.end(), head) == heads.end()) heads.push_back(head);
  if (head < 0 || std::ssize(heads) == kv_heads) return {.causal = config.causal};
  std::sort(heads.begin(), heads.end());
  return config;
}

Attention reconfigured(Attention attention, const AttentionConfig& config) {
  Attention changed = attention.with_config(config);
  const auto weights = attention.parameters(), places = changed.parameters();
  if (places.size() == weights.size()) {  // none of softmax
    for (std::size_t i = 0; i < places.size(); ++i) *places[i].second = *weights[i].second;
  }
  return changed;
}

std::vector<AttentionConfig> layer_attention(const AttentionConfig& config, const std::vector<KeptSoftmax>& keep_softmax,
                                             std::int64_t layers, std::int64_t kv_heads) {
  std::vector<AttentionConfig> result(static_cast<std::size_t>(layers), config);
  for (const KeptSoftmax& kept : keep_softmax) {
    check_kept(kept, layers, kv_heads);
    AttentionConfig& one = result[static_cast<std::size_t>(kept.layer)];
    one = with_softmax_head(one, kept.head, kv_heads);
  }
  return result;
}

}  // namespace hedgehog

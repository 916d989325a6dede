#include "hedgehog/models/layer_attention.h"

#include "hedgehog/base/error.h"

namespace hedgehog {

std::vector<AttentionConfig> layer_attention(const AttentionConfig& config, const std::vector<std::int64_t>& keep_softmax,
                                             std::int64_t layers) {
  std::vector<AttentionConfig> result(static_cast<std::size_t>(layers), config);
  for (const std::int64_t layer : keep_softmax) {
    check(layer >= 0 && layer < layers, "layers that keep softmax should be from 0 to {}, found {}", layers - 1, layer);
    result[static_cast<std::size_t>(layer)] = {};
  }
  return result;
}

}  // namespace hedgehog

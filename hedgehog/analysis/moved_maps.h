// Feature maps that were distilled in one model, put into another: do maps generalise across architectures? (A question that
// arXiv 2402.04347 leaves open.)
#pragma once

#include "hedgehog/analysis/head_fidelity.h"
#include "hedgehog/attention/attention.h"

#include <cstdint>
#include <vector>

namespace hedgehog {

/// A key/value head, whose map goes together with those of its query heads.
struct KeyHead {
  std::int64_t layer = 0, head = 0;
  bool operator==(const KeyHead&) const = default;
};

/// The key/value heads of all layers that have maps with weights, in order of layer, then head.
std::vector<KeyHead> mapped_heads(const std::vector<Attention*>& model);

/// For each of mapped_heads(to) one of mapped_heads(from): at the same depth, layers from 0 to 1, and at the same place among
/// its layer's heads. Throws Error where `from` has none.
std::vector<KeyHead> matched_by_depth(const std::vector<Attention*>& from, const std::vector<Attention*>& to);

/// The same: the one whose softmax weights are the most alike, in entropy and in the shares on keys fewer than 16 and 64 tokens
/// away, each measured in its standard deviation over all heads. The fidelities are of all query heads of either model.
std::vector<KeyHead> matched_by_statistics(const std::vector<Attention*>& from, const std::vector<HeadFidelity>& from_heads,
                                           const std::vector<Attention*>& to, const std::vector<HeadFidelity>& to_heads);

/// Copies the maps' weights; `sources` has one for each of mapped_heads(to). Of a group with more query heads than the source's
/// some get the same. Throws Error for another map, head dimension or number of rows.
void move_maps(const std::vector<Attention*>& from, const std::vector<Attention*>& to, const std::vector<KeyHead>& sources);

}  // namespace hedgehog

// Which part of two texts' tokens is left where both together are too many: the strategy "longest_first" of `tokenizers`.
#pragma once

#include <cstdint>
#include <utility>

namespace hedgehog {

/// How many tokens of each text stay; at most `limit` in all. The longer text is cut to the length of the other, then both
/// alike.
std::pair<std::int64_t, std::int64_t> longest_first(std::int64_t first, std::int64_t second, std::int64_t limit);

}  // namespace hedgehog

#include "hedgehog/tokenizer/truncation.h"

#include <algorithm>

namespace hedgehog {

std::pair<std::int64_t, std::int64_t> longest_first(std::int64_t first, std::int64_t second, std::int64_t limit) {
  if (first + second <= limit) {
    return {first, second};
  }
  const bool swapped = first > second;
  std::int64_t shorter = std::min(first, second);
  // The longer text may have what the shorter one leaves; if that makes it the shorter, both get half, an odd one out the
  // longer.
  std::int64_t longer = shorter > limit ? shorter : std::max(shorter, limit - shorter);
  if (shorter + longer > limit) {
    shorter = limit / 2;
    longer = shorter + limit % 2;
  }
  return swapped ? std::pair(longer, shorter) : std::pair(shorter, longer);
}

}  // namespace hedgehog

#include "hedgehog/attention/maps/map.h"

#include <ATen/ATen.h>

#include <numbers>

namespace hedgehog::maps {

// relu(x) times cos and sin of πi/2L, so that row i and key j get the factor cos(π(i − j)/2L) besides. L, the number that
// follows the name, is to be at least the longest distance; a longer one takes the weights below 0.
Features cosine_reweighted(const MapRows& rows) {
  const auto angle = rows.positions * (std::numbers::pi / (2 * rows.number));
  const auto x = at::relu(rows.u);
  return {at::cat({x * at::cos(angle), x * at::sin(angle)}, -1), {}};
}

}  // namespace hedgehog::maps

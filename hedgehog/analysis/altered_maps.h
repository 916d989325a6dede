// Feature maps made worse on purpose: what does a model lose with its spikes, what with the order of its weights?
#pragma once

#include "hedgehog/attention/attention.h"

#include <cstdint>
#include <string>

namespace hedgehog {

/// Of a map u = W x + b with learned weights. Shares are of 1.
struct MapAlteration {
  double temperature = 1;  // W and b times this, of queries and keys: above 1 the weights are spikier, below flatter
  double permuted = 0;     // this share of the keys' rows change places: as spiky as before, but for other keys
  double noise = 0;        // N(0, 1), times this and the root mean square of the head's W, is added to W
};

/// "temperature=2,permuted=0.5", or as much of it as is wanted. Throws Error for another name or a number that is not finite,
/// is below 0 or, of a share, above 1.
MapAlteration map_alteration(const std::string& text);

/// Changes the attention's weights; softmax has none and stays as it is. What is drawn depends on `seed` alone. Throws Error
/// for a map that learns no weights.
void alter_maps(Attention& attention, const MapAlteration& alteration, std::uint64_t seed);

}  // namespace hedgehog

#include "hedgehog/attention/maps/map.h"

#include <ATen/ATen.h>

namespace hedgehog::maps {

Features exponential(const MapRows& rows) {
  const auto scaled = rows.u * rows.number;
  const auto top = scaled.detach().amax(-1);
  return {at::exp(scaled - top.unsqueeze(-1)), top};
}

}  // namespace hedgehog::maps

#include "hedgehog/attention/maps/map.h"

#include <ATen/ATen.h>

namespace hedgehog::maps {

Features relu(const MapRows& rows) {
  return {at::relu(rows.u), {}};
}

Features one_plus_elu(const MapRows& rows) {
  return {1 + at::elu(rows.u), {}};
}

Features identity(const MapRows& rows) {
  return {rows.u, {}};
}

}  // namespace hedgehog::maps

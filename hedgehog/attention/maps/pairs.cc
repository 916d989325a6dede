#include "hedgehog/attention/maps/map.h"

#include <ATen/ATen.h>

namespace hedgehog::maps {
namespace {

// u and −u side by side, so that one activation makes the features of both signs.
at::Tensor both_signs(const at::Tensor& u) {
  return at::cat({u, -u}, -1);
}

}  // namespace

Features relu_pair(const MapRows& rows) {
  return {at::relu(both_signs(rows.u)), {}};
}

Features squared_relu_pair(const MapRows& rows) {
  return {at::relu(both_signs(rows.u)).square(), {}};
}

Features gelu_pair(const MapRows& rows) {
  return {at::gelu(both_signs(rows.u)), {}};
}

Features silu_pair(const MapRows& rows) {
  return {at::silu(both_signs(rows.u)), {}};
}

Features softplus_pair(const MapRows& rows) {
  return {at::softplus(both_signs(rows.u)), {}};
}

Features sigmoid_pair(const MapRows& rows) {
  return {at::sigmoid(both_signs(rows.u)), {}};
}

Features one_plus_elu_pair(const MapRows& rows) {
  return {1 + at::elu(both_signs(rows.u)), {}};
}

Features cosh(const MapRows& rows) {
  const auto size = rows.u.abs();
  const auto top = size.detach().amax(-1), shift = top.unsqueeze(-1);
  return {(at::exp(size - shift) + at::exp(-size - shift)) / 2, top};
}

}  // namespace hedgehog::maps

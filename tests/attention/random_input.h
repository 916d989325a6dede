// Seeded inputs for tests of attention: every shape, document border, gate and scale that the operator takes.
#pragma once

#include "hedgehog/attention/attention_operator.h"
#include "hedgehog/attention/attention_weights.h"

#include <ATen/ATen.h>

#include <numeric>
#include <ostream>
#include <string>
#include <vector>

namespace hedgehog::testing {

// Of an Attention under test.
constexpr std::int64_t kHeads = 4, kKeyHeads = 2, kDim = 16;

struct InputShape {
  std::int64_t batch = 2, heads = 4, kv_heads = 2, length = 70, dim = 16, features = 24, window = 0, sinks = 0;
  bool gate = false, log_scale = false, packed = false, causal = true, padded = false;

  std::string describe() const {
    return "B" + std::to_string(batch) + " H" + std::to_string(heads) + "/" + std::to_string(kv_heads) + " N" +
           std::to_string(length) + " D" + std::to_string(dim) + " F" + std::to_string(features) + " w" +
           std::to_string(window) + " s" + std::to_string(sinks) + (gate ? " gate" : "") + (log_scale ? " scale" : "") +
           (packed ? " packed" : "") + (causal ? "" : " bidirectional") + (padded ? " padded" : "");
  }
};

// What GoogleTest calls a case.
inline void PrintTo(const InputShape& shape, std::ostream* out) {
  *out << shape.describe();
}

inline OperatorInput random_input(const InputShape& s, std::uint64_t seed) {
  at::manual_seed(seed);
  OperatorInput input;
  input.q = at::randn({s.batch, s.heads, s.length, s.dim});
  input.k = at::randn({s.batch, s.length, s.kv_heads, s.dim}).transpose(1, 2);  // the layout that projections give
  input.v = at::randn({s.batch, s.length, s.kv_heads, s.dim}).transpose(1, 2);
  if (s.features > 0) {
    input.phi_q = at::rand({s.batch, s.heads, s.length, s.features});
    input.phi_k = at::rand({s.batch, s.kv_heads, s.length, s.features});
  }
  if (s.log_scale) input.row_log_scale = at::randn({s.batch, s.heads, s.length}) * 0.5 - 3;
  if (s.gate) input.log_gate = at::log_sigmoid(at::randn({s.batch, s.kv_heads, s.length}) + 3);
  if (s.packed) {
    input.segment_start = at::zeros({s.batch, s.length}, at::kInt);
    for (std::int64_t b = 0; b < s.batch; ++b) {
      std::int64_t start = 0;
      for (std::int64_t i = 0; i < s.length; ++i) {
        if (i > 0 && at::randint(0, 23, {1}).item<std::int64_t>() == 0) start = i;
        input.segment_start[b][i] = start;
      }
    }
  }
  if (s.padded) input.key_count = at::randint(1, s.length, {s.batch}).to(at::kInt);
  input.window = s.window;
  input.sinks = s.sinks;
  input.causal = s.causal;
  return input;
}

inline double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  const auto difference = (found.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>();
  return difference / std::max(1e-30, expected.to(at::kDouble).abs().max().item<double>());
}

inline std::vector<std::int64_t> all_rows(const OperatorInput& input) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(input.k.size(2)));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

/// The outputs by the weights' definition, in fp64.
inline at::Tensor by_definition(const OperatorInput& input) {
  const auto weights = operator_weights(input, all_rows(input)).weights;
  return at::matmul(weights, input.v.to(at::kDouble).repeat_interleave(input.q.size(1) / input.v.size(1), 1));
}

}  // namespace hedgehog::testing

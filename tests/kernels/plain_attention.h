// Attention by its definition in fp64, row by row and weight by weight, and problems for the kernels in every layout: what
// tests without LibTorch hold them against.
#pragma once

#include "hedgehog/base/random.h"
#include "hedgehog/kernels/attention.h"
#include "hedgehog/kernels/feature_map.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace hedgehog::kernels {

using Doubles = std::vector<double>;

inline float rounded(double x, Element element) {
  const auto value = static_cast<float>(x);
  if (element == Element::kFloat32) return value;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7FFFu + (bits >> 16 & 1u)) & 0xFFFF0000u);
}

// [batch, heads, rows, width] numbers in memory of a layout: BHND, or BNHD with a gap behind each row.
class Array {
 public:
  enum class Layout { kHeadsFirst, kRowsFirst };

  Array(std::int64_t batch, std::int64_t heads, std::int64_t rows, std::int64_t width, Element element, Layout layout)
      : batch_(batch), heads_(heads), rows_(rows), width_(width), element_(element) {
    const std::int64_t gap = layout == Layout::kRowsFirst ? 3 : 0;
    if (layout == Layout::kHeadsFirst) {
      row_ = width;
      head_ = rows * width;
      step_ = heads * rows * width;
    } else {
      head_ = width + gap;
      row_ = heads * (width + gap);
      step_ = rows * row_;
    }
    bytes_.resize(static_cast<std::size_t>(batch * step_) * size());
  }

  Rows rows() const { return {bytes_.data(), element_, step_, head_, row_}; }
  MutableRows mutable_rows() { return {bytes_.data(), element_, step_, head_, row_}; }

  // From and to [batch, heads, rows, width] contiguous.
  void set(const Doubles& values) {
    each([&](std::size_t n, std::int64_t at) {
      const float value = rounded(values[n], element_);
      if (element_ == Element::kFloat32) {
        reinterpret_cast<float*>(bytes_.data())[at] = value;
      } else {
        reinterpret_cast<std::uint16_t*>(bytes_.data())[at] =
            static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
      }
    });
  }
  Doubles get() const {
    Doubles values(static_cast<std::size_t>(batch_ * heads_ * rows_ * width_));
    each([&](std::size_t n, std::int64_t at) {
      if (element_ == Element::kFloat32) {
        values[n] = static_cast<double>(reinterpret_cast<const float*>(bytes_.data())[at]);
      } else {
        const std::uint32_t bits = reinterpret_cast<const std::uint16_t*>(bytes_.data())[at];
        values[n] = static_cast<double>(std::bit_cast<float>(bits << 16));
      }
    });
    return values;
  }

 private:
  std::size_t size() const { return element_ == Element::kFloat32 ? 4 : 2; }
  template <typename Body>
  void each(const Body& body) const {
    std::size_t n = 0;
    for (std::int64_t b = 0; b < batch_; ++b) {
      for (std::int64_t h = 0; h < heads_; ++h) {
        for (std::int64_t i = 0; i < rows_; ++i) {
          for (std::int64_t c = 0; c < width_; ++c) body(n++, b * step_ + h * head_ + i * row_ + c);
        }
      }
    }
  }

  std::int64_t batch_, heads_, rows_, width_, step_, head_, row_;
  Element element_;
  std::vector<char> bytes_;
};

struct PlainProblem {
  AttentionShape shape;  // features = 2·width, scale as models have it
  std::int64_t width = 8;
  Activation activation = Activation::kSplitSoftmax;
  bool gate = false, packed = false, padded = false;
  Element element = Element::kFloat32;
  Array::Layout layout = Array::Layout::kHeadsFirst;

  std::string describe() const {
    return "B" + std::to_string(shape.batch) + " H" + std::to_string(shape.heads) + "/" + std::to_string(shape.kv_heads) +
           " N" + std::to_string(shape.length) + " D" + std::to_string(shape.dim) + " M" + std::to_string(width) + " w" +
           std::to_string(shape.window) + " s" + std::to_string(shape.sinks) + (shape.causal ? "" : " bidirectional") +
           (gate ? " gate" : "") + (packed ? " packed" : "") + (padded ? " padded" : "") +
           (element == Element::kFloat32 ? " fp32" : " bf16") + (layout == Array::Layout::kHeadsFirst ? " BHND" : " BNHD") +
           " map " + std::to_string(static_cast<int>(activation));
  }
};

// The numbers of a problem, in fp64 and as exact as its element holds them.
struct PlainInput {
  Doubles q, k, v, q_weight, q_bias, k_weight, k_bias, log_scale, log_gate;
  std::vector<std::int32_t> segment_start, key_count;  // empty: one document, no padding
};

inline PlainInput plain_input(const PlainProblem& p, std::uint64_t seed) {
  const AttentionShape& s = p.shape;
  Random random{seed, 0};
  const auto draw = [&](std::int64_t count, double size, double shift, Element element) {
    Doubles values(static_cast<std::size_t>(count));
    for (double& x : values) {
      double sum = shift;
      for (int n = 0; n < 4; ++n) sum += size * std::sqrt(3.0) * (random.uniform() - 0.5);  // standard deviation `size`
      x = static_cast<double>(rounded(sum, element));
    }
    return values;
  };
  const std::int64_t rows = s.batch * s.length;
  PlainInput input;
  input.q = draw(rows * s.heads * s.dim, 1, 0, p.element);
  input.k = draw(rows * s.kv_heads * s.dim, 1, 0, p.element);
  input.v = draw(rows * s.kv_heads * s.dim, 1, 0, p.element);
  const double size = 1 / std::sqrt(static_cast<double>(s.dim));
  input.q_weight = draw(s.heads * p.width * s.dim, size, 0, Element::kFloat32);
  input.q_bias = draw(s.heads * p.width, 0.3, 0, Element::kFloat32);
  input.k_weight = draw(s.kv_heads * p.width * s.dim, size, 0, Element::kFloat32);
  input.k_bias = draw(s.kv_heads * p.width, 0.3, 0, Element::kFloat32);
  if (s.window > 0 || s.sinks > 0) input.log_scale = draw(rows * s.heads, 0.5, -2, Element::kFloat32);
  if (p.gate) {
    input.log_gate = draw(rows * s.kv_heads, 0.05, -0.2, Element::kFloat32);
    for (double& x : input.log_gate) x = std::min(x, 0.0);
  }
  for (std::int64_t b = 0; p.packed && b < s.batch; ++b) {
    std::int32_t start = 0;
    for (std::int64_t i = 0; i < s.length; ++i) {
      if (random.uniform() < 0.05) start = static_cast<std::int32_t>(i);
      input.segment_start.push_back(start);
    }
  }
  for (std::int64_t b = 0; p.padded && b < s.batch; ++b) {
    input.key_count.push_back(static_cast<std::int32_t>(random.uniform() * static_cast<double>(s.length + 1)));
  }
  return input;
}

namespace plain {

inline Doubles features(const PlainProblem& p, const double* x, const double* weight, const double* bias) {
  const std::int64_t width = p.width, dim = p.shape.dim;
  Doubles u(static_cast<std::size_t>(width)), phi;
  for (std::int64_t m = 0; m < width; ++m) {
    double sum = bias[m];
    for (std::int64_t c = 0; c < dim; ++c) sum += weight[m * dim + c] * x[c];
    u[static_cast<std::size_t>(m)] = sum;
  }
  const double times = p.activation == Activation::kJointSoftmax ? 2 : 1;
  for (const double sign : {1.0, -1.0}) {
    for (const double value : u) phi.push_back(std::exp(times * sign * value));
  }
  if (p.activation == Activation::kExp) return phi;
  const auto half = phi.begin() + width;
  double positive = 0, negative = 0;
  for (auto at = phi.begin(); at != half; ++at) positive += *at;
  for (auto at = half; at != phi.end(); ++at) negative += *at;
  if (p.activation == Activation::kJointSoftmax) positive = negative = positive + negative;
  for (auto at = phi.begin(); at != half; ++at) *at /= positive;
  for (auto at = half; at != phi.end(); ++at) *at /= negative;
  return phi;
}

}  // namespace plain

// y [B, H, N, D] contiguous by the definition in kernels/attention.h.
inline Doubles plain_attention(const PlainProblem& p, const PlainInput& in) {
  const AttentionShape& s = p.shape;
  Doubles y(static_cast<std::size_t>(s.batch * s.heads * s.length * s.dim));
  const auto features_of = [&](const Doubles& x, const Doubles& weight, const Doubles& bias, std::int64_t b, std::int64_t h,
                               std::int64_t heads, std::int64_t i) {
    return plain::features(p, x.data() + ((b * heads + h) * s.length + i) * s.dim, weight.data() + h * p.width * s.dim,
                           bias.data() + h * p.width);
  };
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      const std::int64_t g = h / (s.heads / s.kv_heads);
      std::vector<Doubles> phi_k;
      for (std::int64_t j = 0; j < s.length; ++j)
        phi_k.push_back(features_of(in.k, in.k_weight, in.k_bias, b, g, s.kv_heads, j));
      for (std::int64_t i = 0; i < s.length; ++i) {
        const Doubles phi_q = features_of(in.q, in.q_weight, in.q_bias, b, h, s.heads, i);
        const double* q = in.q.data() + ((b * s.heads + h) * s.length + i) * s.dim;
        const auto start_of = [&](std::int64_t row) {
          return in.segment_start.empty() ? 0 : std::int64_t{in.segment_start[static_cast<std::size_t>(b * s.length + row)]};
        };
        const std::int64_t start = start_of(i), end = s.causal ? i + 1 : s.length;
        double* to = y.data() + ((b * s.heads + h) * s.length + i) * s.dim;
        double sum = 0;
        for (std::int64_t j = start; j < end && start_of(j) == start; ++j) {
          if (!in.key_count.empty() && j >= in.key_count[static_cast<std::size_t>(b)]) break;
          const double* k = in.k.data() + ((b * s.kv_heads + g) * s.length + j) * s.dim;
          double weight = 0;
          if (s.causal && (i - j < s.window || j - start < s.sinks)) {
            for (std::int64_t c = 0; c < s.dim; ++c) weight += q[c] * k[c];
            weight = std::exp(static_cast<double>(s.scale) * weight);
          } else {
            for (std::size_t f = 0; f < phi_q.size(); ++f) weight += phi_q[f] * phi_k[static_cast<std::size_t>(j)][f];
            double decay = in.log_scale.empty() ? 0 : in.log_scale[static_cast<std::size_t>((b * s.heads + h) * s.length + i)];
            for (std::int64_t t = j + 1; t <= i && !in.log_gate.empty(); ++t) {
              decay += in.log_gate[static_cast<std::size_t>((b * s.kv_heads + g) * s.length + t)];
            }
            weight *= std::exp(decay);
          }
          sum += weight;
          const double* v = in.v.data() + ((b * s.kv_heads + g) * s.length + j) * s.dim;
          for (std::int64_t c = 0; c < s.dim; ++c) to[c] += weight * v[c];
        }
        for (std::int64_t c = 0; c < s.dim; ++c) to[c] = sum > 0 ? to[c] / sum : 0;
      }
    }
  }
  return y;
}

inline const ParallelFor& serially() {
  static const ParallelFor run = [](std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
    if (count > 0) body(0, count);
  };
  return run;
}

}  // namespace hedgehog::kernels

// What one feature map is: a row of the table in attention/feature_map.cc, its arithmetic in a file of its own here.
#pragma once

#include "hedgehog/kernels/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace hedgehog {

struct Features {
  at::Tensor phi;        // fp32 [batch, heads, length, F]
  at::Tensor log_scale;  // fp32 [batch, heads, length]: the true features are exp(log_scale) · phi; undefined: 0. No gradient
};

namespace maps {

/// The rows of one call.
struct MapRows {
  at::Tensor x;          // fp32 [batch, heads, length, D]
  at::Tensor u;          // fp32 [batch, heads, length, M]: W x + b; x itself for a map without weights
  at::Tensor positions;  // fp32 [batch or 1, 1, length, 1]: a row's place in its document; only where the map asks for it
  double number = 0;     // t of "exp-2", L of "cosformer-512"
};

enum class Weights {
  kNone,     // u = x, M = D
  kFixed,    // W is drawn once, b = 0; neither learns
  kLearned,  // W and b, the identity at the start
};

struct Map {
  const char* name;
  Weights weights;
  std::int64_t (*features)(std::int64_t rows);  // F for M
  Features (*apply)(const MapRows& rows);
  std::optional<kernels::Activation> activation = std::nullopt;  // the kernels do it themselves
  bool log_scaled = false;                                       // gives Features::log_scale
  bool positions = false;                                        // needs MapRows::positions
  double number = 0;  // of the name alone; 0: the map takes none. Another one follows the name and a hyphen
  at::Tensor (*weight)(std::int64_t heads, std::int64_t rows, std::int64_t dim) = nullptr;  // of kFixed: [heads, M, D]
  at::Tensor (*of_score)(const at::Tensor& scores) = nullptr;  // φ(q)·φ(k) where it is a function of s = q·k/√D alone
};

// hedgehog.cc
Features split_softmax(const MapRows& rows);  // [softmax(u), softmax(−u)]
Features joint_softmax(const MapRows& rows);  // softmax([2u, −2u])
Features exp_pair(const MapRows& rows);       // [exp(u), exp(−u)]
// rectified.cc
Features relu(const MapRows& rows);          // relu(u): Transformer-to-RNN (arXiv 2103.13076) with weights, ReLU without
Features one_plus_elu(const MapRows& rows);  // 1 + elu(x) (arXiv 2006.16236)
Features identity(const MapRows& rows);      // x
// pairs.cc: activations of u and −u in exp's place, to be compared with it
Features relu_pair(const MapRows& rows);          // [relu(u), relu(−u)]
Features squared_relu_pair(const MapRows& rows);  // their squares
Features gelu_pair(const MapRows& rows);          // gelu and silu fall a little below 0
Features silu_pair(const MapRows& rows);
Features softplus_pair(const MapRows& rows);
Features sigmoid_pair(const MapRows& rows);
Features one_plus_elu_pair(const MapRows& rows);
Features cosh(const MapRows& rows);  // cosh(u)
// exponential.cc
Features exponential(const MapRows& rows);  // exp(t x)
// performer.cc
Features positive_random(const MapRows& rows);  // FAVOR+ (arXiv 2009.14794)
at::Tensor orthogonal_rows(std::int64_t heads, std::int64_t rows, std::int64_t dim);
// cosformer.cc
Features cosine_reweighted(const MapRows& rows);  // arXiv 2202.08791
// taylor.cc
Features second_order(const MapRows& rows);  // 1 + s + s²/2 for s = q·k/√D (arXiv 2402.04347, section 4.1)
at::Tensor second_order_of_score(const at::Tensor& scores);

}  // namespace maps
}  // namespace hedgehog

// Rotary position encoding (arXiv 2104.09864) in Hugging Face's half-split layout, with linear, Llama-3, YaRN and LongRoPE
// scaling.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace hedgehog {

struct RotaryConfig {
  double theta = 10000;
  std::string scaling = "default";  // "default", "linear", "llama3", "yarn", "longrope"
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double attention_factor = 0;                       // yarn (0: by the formula), longrope: times cos and sin
  double beta_fast = 32, beta_slow = 1, mscale = 0, mscale_all_dim = 0;  // yarn; 0: by the formula
  bool truncate = true;                                                  // yarn
  std::int64_t original_max_positions = 0;                               // llama3, yarn
  std::vector<double> frequency_divisors;                                // longrope: [dim / 2]
};

struct RotaryTable {
  at::Tensor cos, sin;  // fp32, [length, dim] or [batch, length, dim]; both halves of dim are the same
};

/// Angles for the integer `positions` (any shape), for heads of `dim` dimensions.
RotaryTable rotary_table(const RotaryConfig& config, std::int64_t dim, const at::Tensor& positions);

/// x [batch, heads, length, dim] rotated; differentiable.
at::Tensor apply_rotary(const at::Tensor& x, const RotaryTable& table);

}  // namespace hedgehog

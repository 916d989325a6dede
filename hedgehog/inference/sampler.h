// The choice of the next token from logits: repetition penalty, temperature, top-k, top-p, min-p, in this order; seeded.
#pragma once

#include "hedgehog/base/random.h"

#include <cstdint>
#include <span>
#include <vector>

namespace hedgehog {

struct SamplerConfig {
  double temperature = 0;  // 0: greedy
  std::int64_t top_k = 0;  // 0: off
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;  // as in CTRL (arXiv 1909.05858), over `recent`
  std::uint64_t seed = 0;
};

class Sampler {
 public:
  /// Throws Error for values out of range.
  explicit Sampler(const SamplerConfig& config);
  /// logits: fp32 of the vocabulary, changed in place. `recent`: all tokens so far, prompt included.
  std::int32_t sample(std::span<float> logits, std::span<const std::int32_t> recent);

 private:
  SamplerConfig config_;
  Random random_;
};

}  // namespace hedgehog

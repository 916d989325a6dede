// The choice of the next token from logits: repetition penalty, temperature, top-k, top-p, min-p, in this order; seeded.
// What each keeps is what transformers' logits processors of the same names keep.
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
  struct Candidate {
    std::int32_t token = 0;
    double probability = 0;
  };

  /// Throws Error for values out of range.
  explicit Sampler(const SamplerConfig& config);
  /// logits: fp32 of the vocabulary, changed in place. `recent`: all tokens so far, prompt included.
  /// Throws Error for logits of which the largest is not finite.
  std::int32_t sample(std::span<float> logits, std::span<const std::int32_t> recent);
  /// What sample() draws from: the tokens that survive and their probabilities, which sum to 1. Valid until the next call.
  std::span<const Candidate> distribution(std::span<float> logits, std::span<const std::int32_t> recent);

 private:
  void penalize(std::span<float> logits, std::span<const std::int32_t> recent);
  void keep_top_k(std::span<const float> logits, float largest);
  void keep_top_p();
  void keep_min_p();
  void normalize();

  SamplerConfig config_;
  Random random_;
  std::vector<Candidate> candidates_;  // `probability` is relative to the likeliest token until normalize()
  std::vector<float> order_;           // top-k's scratch
  std::vector<bool> seen_;             // the penalty's scratch
};

}  // namespace hedgehog

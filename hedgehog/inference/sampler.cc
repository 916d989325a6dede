#include "hedgehog/inference/sampler.h"

#include "hedgehog/base/error.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace hedgehog {
namespace {

// Likelier first; among equals the smaller id, so that the order is one on every machine.
bool likelier(const Sampler::Candidate& a, const Sampler::Candidate& b) {
  return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
}

}  // namespace

Sampler::Sampler(const SamplerConfig& config) : config_(config), random_{config.seed, 0} {
  check(std::isfinite(config.temperature) && config.temperature >= 0, "temperature: expected a number from 0 up, found {}",
        config.temperature);
  check(config.top_k >= 0, "top-k: expected a count from 0 (off) up, found {}", config.top_k);
  check(config.top_p >= 0 && config.top_p <= 1, "top-p: expected a number from 0 to 1, found {}", config.top_p);
  check(config.min_p >= 0 && config.min_p <= 1, "min-p: expected a number from 0 to 1, found {}", config.min_p);
  check(std::isfinite(config.repetition_penalty) && config.repetition_penalty > 0,
        "repetition penalty: expected a number above 0, found {}", config.repetition_penalty);
}

std::int32_t Sampler::sample(std::span<float> logits, std::span<const std::int32_t> recent) {
  const std::span<const Candidate> kept = distribution(logits, recent);
  if (kept.size() == 1) {
    return kept.front().token;
  }
  double rest = random_.uniform();
  for (const Candidate& candidate : kept) {
    rest -= candidate.probability;
    if (rest < 0) {
      return candidate.token;
    }
  }
  return std::find_if(kept.rbegin(), kept.rend(), [](const Candidate& c) { return c.probability > 0; })->token;  // rounding
}

std::span<const Sampler::Candidate> Sampler::distribution(std::span<float> logits, std::span<const std::int32_t> recent) {
  penalize(logits, recent);
  float largest = -INFINITY;
  std::size_t best = 0;
  bool nan = false;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    nan |= std::isnan(logits[i]);
    if (logits[i] > largest) {
      largest = logits[i];
      best = i;
    }
  }
  check(!nan && std::isfinite(largest), "sampling: the largest of {} logits is not a finite number", logits.size());
  if (config_.temperature == 0) {
    candidates_.assign(1, {static_cast<std::int32_t>(best), 1.0});
    return candidates_;
  }
  keep_top_k(logits, largest);
  keep_top_p();
  keep_min_p();
  normalize();
  return candidates_;
}

void Sampler::penalize(std::span<float> logits, std::span<const std::int32_t> recent) {
  if (config_.repetition_penalty == 1) {
    return;
  }
  const float penalty = static_cast<float>(config_.repetition_penalty);
  seen_.assign(logits.size(), false);
  for (const std::int32_t token : recent) {
    const auto index = static_cast<std::size_t>(token);
    if (token < 0 || index >= logits.size() || seen_[index]) {
      continue;
    }
    seen_[index] = true;
    logits[index] = logits[index] < 0 ? logits[index] * penalty : logits[index] / penalty;
  }
}

// Fills the candidates: all tokens, or those whose logit is at least the k-th largest (equals of it are kept).
void Sampler::keep_top_k(std::span<const float> logits, float largest) {
  float threshold = -INFINITY;
  if (config_.top_k > 0 && config_.top_k < std::ssize(logits)) {
    order_.assign(logits.begin(), logits.end());
    const auto kth = order_.begin() + (config_.top_k - 1);
    std::nth_element(order_.begin(), kth, order_.end(), std::greater<>());
    threshold = *kth;
  }
  const float scale = static_cast<float>(std::min(1 / config_.temperature, 1e30));  // finite, since 0 · ∞ is not a number
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= threshold && logits[i] > -INFINITY) {
      candidates_.push_back({static_cast<std::int32_t>(i), std::exp((logits[i] - largest) * scale)});
    }
  }
}

// The likeliest tokens, until the mass before the next one reaches top_p. Tokens that are unlikely enough to have less than
// 1 − top_p between them all (halved, against rounding) go first; of the rest as few are sorted as it takes.
void Sampler::keep_top_p() {
  if (config_.top_p >= 1) {
    return;
  }
  double total = 0;
  for (const Candidate& candidate : candidates_) {
    total += candidate.probability;
  }
  const double negligible = 0.5 * (1 - config_.top_p) * total / static_cast<double>(candidates_.size());
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.probability < negligible; });

  const double wanted = config_.top_p * total;
  double mass = 0;
  std::size_t kept = 0;
  for (std::size_t sorted = 0, count = 64; sorted < candidates_.size(); sorted = count, count *= 4) {
    count = std::min(count, candidates_.size());
    const auto first = candidates_.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(count);
    if (last != candidates_.end()) {
      std::nth_element(first, last - 1, candidates_.end(), likelier);
    }
    std::sort(first, last, likelier);
    while (kept < count && (kept == 0 || mass < wanted)) {
      mass += candidates_[kept++].probability;
    }
    if (kept < count) {
      break;
    }
  }
  candidates_.resize(kept);
}

void Sampler::keep_min_p() {
  if (config_.min_p > 0) {
    std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.probability < config_.min_p; });
  }
}

void Sampler::normalize() {
  double total = 0;
  for (const Candidate& candidate : candidates_) {
    total += candidate.probability;
  }
  for (Candidate& candidate : candidates_) {
    candidate.probability /= total;
  }
}

}  // namespace hedgehog

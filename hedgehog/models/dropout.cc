#include "hedgehog/models/dropout.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

namespace hedgehog {
namespace {

// A number of 16 bits decides, so that one of 64 serves four; the probability is rounded to them.
constexpr double kSteps = 65536;
constexpr std::int64_t kNumbersAtOnce = 4, kMaskGrain = 1 << 14;

// 0 with probability dropped / kSteps, else `kept`; the i-th number depends on seed and i alone, whatever the threads.
void fill_mask(float* mask, std::int64_t count, std::uint64_t seed, std::uint32_t dropped, float kept) {
  const std::int64_t groups = (count + kNumbersAtOnce - 1) / kNumbersAtOnce;
  at::parallel_for(0, groups, kMaskGrain, [&](std::int64_t begin, std::int64_t end) {
    Random random{seed, static_cast<std::uint64_t>(begin)};
    for (std::int64_t group = begin; group < end; ++group) {
      const std::uint64_t bits = random.next();
      const std::int64_t first = group * kNumbersAtOnce, numbers = std::min(kNumbersAtOnce, count - first);
      for (std::int64_t i = 0; i < numbers; ++i) mask[first + i] = ((bits >> (16 * i)) & 0xFFFF) < dropped ? 0.0F : kept;
    }
  });
}

}  // namespace

Dropout::Dropout(std::optional<std::uint64_t> seed, std::uint64_t stream) {
  if (seed.has_value()) random_ = Random{*seed, stream << 32};
}

at::Tensor Dropout::operator()(const at::Tensor& x, double probability) {
  if (!random_.has_value() || probability == 0) return x;
  const auto dropped = static_cast<std::uint32_t>(std::min(std::lround(probability * kSteps), std::lround(kSteps) - 1));
  const at::Tensor mask = at::empty(x.sizes(), at::kFloat);
  fill_mask(mask.mutable_data_ptr<float>(), mask.numel(), random_->next(), dropped,
            static_cast<float>(kSteps / (kSteps - dropped)));
  return x * mask.to(x.scalar_type());
}

}  // namespace hedgehog

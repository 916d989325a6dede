#include "hedgehog/models/dropout.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace hedgehog {

Dropout::Dropout(std::optional<std::uint64_t> seed, std::uint64_t stream) {
  if (seed.has_value()) random_ = Random{*seed, stream << 32};
}

at::Tensor Dropout::operator()(const at::Tensor& x, double probability) {
  if (!random_.has_value() || probability == 0) return x;
  const at::Generator generator = at::detail::createCPUGenerator(random_->next());
  const at::Tensor kept = at::empty_like(x, x.options().requires_grad(false)).bernoulli_(1 - probability, generator);
  return (x * kept).div(1 - probability);
}

}  // namespace hedgehog

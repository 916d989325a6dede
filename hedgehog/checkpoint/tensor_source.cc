#include "hedgehog/checkpoint/tensor_source.h"

#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/tensor_allocation.h"

#include <ATen/ATen.h>

#include <limits>

namespace hedgehog {

at::Tensor TensorSource::load_float(const std::string& name, const std::vector<std::int64_t>& shape) const {
  at::Tensor tensor = load(name);
  check(tensor.sizes() == at::IntArrayRef(shape), "{}: tensor {} has shape [{}], expected [{}]", origin(), described(name),
        fmt::join(tensor.sizes(), ", "), fmt::join(shape, ", "));
  const at::ScalarType dtype = tensor.scalar_type();
  check(
      dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16 || dtype == at::kDouble,
      "{}: tensor {} holds {}, which means nothing without its scales; use a checkpoint that is not quantized, or a GGUF file",
      origin(), described(name), at::toString(dtype));
  return tensor.to(at::kFloat);
}

at::Tensor allocate_tensor(const std::vector<std::int64_t>& shape, at::ScalarType dtype, const std::string& name,
                           const std::string& origin) {
  try {
    return at::empty(shape, at::TensorOptions().dtype(dtype).device(at::kCPU));
  } catch (const c10::Error& error) {
    fail("{}: tensor {} of shape [{}] cannot be held: {}", origin, name, fmt::join(shape, ", "),
         error.what_without_backtrace());
  }
}

std::optional<std::int64_t> checked_element_count(const std::vector<std::uint64_t>& shape) {
  std::int64_t extent = 1;
  bool empty = false;
  for (const std::uint64_t size : shape) {
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return std::nullopt;
    }
    empty = empty || size == 0;
    if (size != 0 && __builtin_mul_overflow(extent, static_cast<std::int64_t>(size), &extent)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : extent;
}

}  // namespace hedgehog

// What the machine itself can do, in the same run: the rate of a large matrix product and of copying memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace hedgehog {

struct MachineProbe {
  std::function<void()> call;
  double amount = 0;  // that one call does: multiplications and additions, or bytes read and written
};

/// A product of 2,048 × 2,048 matrices by LibTorch.
MachineProbe product_probe(at::ScalarType dtype);
/// 256 MiB copied on all threads.
MachineProbe copy_probe();

}  // namespace hedgehog

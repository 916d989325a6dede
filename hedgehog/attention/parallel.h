// LibTorch's thread pool in the form that kernels take.
#pragma once

#include "hedgehog/kernels/attention.h"

#include <ATen/Parallel.h>

namespace hedgehog {

/// Pieces of at least `grain` items on LibTorch's threads.
inline kernels::ParallelFor torch_threads(std::int64_t grain = 1) {
  return [grain](std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
    at::parallel_for(0, count, grain, body);
  };
}

}  // namespace hedgehog

#include "hedgehog/benchmark/machine.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstdint>
#include <cstring>

namespace hedgehog {

MachineProbe product_probe(at::ScalarType dtype) {
  constexpr std::int64_t kSize = 2048;
  const auto a = at::randn({kSize, kSize}).to(dtype), b = at::randn({kSize, kSize}).to(dtype);
  return {[a, b, c = at::empty_like(a)]() mutable { at::mm_out(c, a, b); }, 2.0 * kSize * kSize * kSize};
}

MachineProbe copy_probe() {
  constexpr std::int64_t kBytes = std::int64_t{256} << 20;
  const auto from = at::ones({kBytes}, at::kByte), to = at::ones({kBytes}, at::kByte);
  const auto copy = [from, to] {
    at::parallel_for(0, kBytes, kBytes / at::get_num_threads(), [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to.mutable_data_ptr<std::uint8_t>() + begin, from.const_data_ptr<std::uint8_t>() + begin,
                  static_cast<std::size_t>(end - begin));
    });
  };
  return {copy, 2.0 * kBytes};
}

}  // namespace hedgehog

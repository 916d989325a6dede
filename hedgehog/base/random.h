// A small counter-based random generator, so that state is two integers that a checkpoint can hold and results are the same
// on every machine: splitmix64 over (seed, counter).
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace hedgehog {

struct Random {
  std::uint64_t seed = 0;
  std::uint64_t counter = 0;

  std::uint64_t next() {
    std::uint64_t z = seed * 0x9E3779B97F4A7C15ULL + ++counter * 0xD1B54A32D192ED03ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, 1).
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// Uniform in [0, bound); the bias of 2^-64·bound is accepted. bound > 0.
  std::uint64_t below(std::uint64_t bound) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
};

/// Every order is as likely (Fisher and Yates).
template <typename T>
void shuffle(std::vector<T>& values, Random& random) {
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(i)]);
}

}  // namespace hedgehog

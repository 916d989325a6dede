// Scratch memory of the kernels, and the few functions on sizes that go with it. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_BUFFER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_BUFFER_INL_H_
#undef HEDGEHOG_KERNELS_CPU_BUFFER_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_BUFFER_INL_H_
#endif

#include "hedgehog/kernels/cpu/out_of_memory.h"

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

inline std::int64_t least(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}
inline std::int64_t most(std::int64_t a, std::int64_t b) {
  return a > b ? a : b;
}
inline std::int64_t clamp(std::int64_t x, std::int64_t low, std::int64_t high) {
  return most(low, least(x, high));
}
// A row length that keeps consecutive rows out of the same cache sets.
inline std::int64_t padded(std::int64_t columns) {
  return (columns + 15) / 16 * 16 + 16;
}

// Aligned memory that is freed with its owner. No standard container: see the file's per-target compilation.
template <typename T>
class Buffer {
 public:
  explicit Buffer(std::int64_t count) : memory_(hwy::AllocateAligned<T>(static_cast<std::size_t>(most(count, 1)))) {
    if (!memory_) throw_out_of_memory();
  }
  T* get() { return memory_.get(); }
  const T* get() const { return memory_.get(); }

 private:
  hwy::AlignedFreeUniquePtr<T[]> memory_;
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

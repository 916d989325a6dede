// Counts what operator new hands out, so that a test can bound a parser's memory. It replaces the global operators: include it
// in exactly one source of a test binary.
#pragma once

#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace hedgehog::testing {

inline std::atomic<std::ptrdiff_t> allocated_now{0};
inline std::atomic<std::ptrdiff_t> allocated_peak{0};

inline void* counted_allocation_or_null(std::size_t size) noexcept {
  void* memory = std::malloc(size);
  if (memory == nullptr) {
    return nullptr;
  }
  const auto bytes = static_cast<std::ptrdiff_t>(malloc_usable_size(memory));
  const std::ptrdiff_t now = allocated_now.fetch_add(bytes) + bytes;
  for (std::ptrdiff_t peak = allocated_peak; now > peak && !allocated_peak.compare_exchange_weak(peak, now);) {
  }
  return memory;
}

inline void* counted_allocation(std::size_t size) {
  void* memory = counted_allocation_or_null(size);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}

inline void counted_free(void* memory) noexcept {
  if (memory != nullptr) {
    allocated_now -= static_cast<std::ptrdiff_t>(malloc_usable_size(memory));
    std::free(memory);
  }
}

/// The most bytes that were allocated at once since this object was made, beyond those that were there already.
class AllocationPeak {
 public:
  AllocationPeak() : before_(allocated_now) { allocated_peak = before_; }
  std::ptrdiff_t bytes() const { return allocated_peak - before_; }

 private:
  std::ptrdiff_t before_;
};

}  // namespace hedgehog::testing

void* operator new(std::size_t size) {
  return hedgehog::testing::counted_allocation(size);
}
void* operator new[](std::size_t size) {
  return hedgehog::testing::counted_allocation(size);
}
// Also the forms that do not throw (std::stable_sort's buffer): AddressSanitizer would else see its own allocation freed by
// ours.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return hedgehog::testing::counted_allocation_or_null(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return hedgehog::testing::counted_allocation_or_null(size);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  hedgehog::testing::counted_free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  hedgehog::testing::counted_free(memory);
}
void operator delete(void* memory) noexcept {
  hedgehog::testing::counted_free(memory);
}
void operator delete[](void* memory) noexcept {
  hedgehog::testing::counted_free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  hedgehog::testing::counted_free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  hedgehog::testing::counted_free(memory);
}

// What all tensor sources share: memory for a loaded tensor, and limits on what a file's header may claim.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hedgehog {

/// An uninitialised contiguous tensor. LibTorch's own exception (no memory) becomes an Error naming `name` and `origin`.
at::Tensor allocate_tensor(const std::vector<std::int64_t>& shape, at::ScalarType dtype, const std::string& name,
                           const std::string& origin);

/// The number of elements, or nothing if a dimension, the product or LibTorch's strides (the product without zeros) pass 2^63.
std::optional<std::int64_t> checked_element_count(const std::vector<std::uint64_t>& shape);

/// How many named entries a file of `file_bytes` may declare. Each costs the reader some hundred bytes of memory, but a forged
/// header only a few; with this bound reading never takes more memory than about twice the file.
inline std::uint64_t most_entries(std::uint64_t file_bytes) {
  return 4096 + file_bytes / 160;
}

/// The longest tensor name that is read, in bytes: far more than any model has, and short enough for error messages.
inline constexpr std::size_t kLongestTensorName = 4096;

}  // namespace hedgehog

// What reader and writer of the safetensors format share: the longest header, and the element types in the order in which a
// writer sorts: that of their alignment.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace hedgehog {

/// Bytes of JSON that the format allows before the data.
inline constexpr std::uint64_t kLongestHeader = 100'000'000;

struct SafetensorsDtype {
  std::string_view name;
  unsigned bits = 0;
  std::optional<c10::ScalarType> scalar_type;  // none: can stand in a file, but LibTorch cannot hold it
  std::size_t rank = 0;                        // higher ones are written first
};

/// nullptr if `name` is unknown.
const SafetensorsDtype* find_safetensors_dtype(std::string_view name);
/// nullptr if the format lacks it.
const SafetensorsDtype* find_safetensors_dtype(c10::ScalarType type);

}  // namespace hedgehog

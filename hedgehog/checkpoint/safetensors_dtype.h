// The element types of the safetensors format, in the order in which its writer sorts: that of their alignment.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <optional>
#include <string_view>

namespace hedgehog {

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

// The tensor types of GGUF (ggml's) that can be read, and how the quantized ones become fp32.
// Blocks of 32 or 256 weights share a scale; the K types hold 8 or 16 sub-scales in it. Layouts stand beside each function.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hedgehog {

struct GgufTensorType {
  std::uint32_t id = 0;  // as in the file
  std::string_view name;
  std::uint32_t block = 1;        // weights in a block; a row is whole blocks
  std::uint32_t block_bytes = 0;  // its bytes
  c10::ScalarType loaded = c10::ScalarType::Float;
  // Writes blocks · block values. nullptr: stored as `loaded` already.
  void (*dequantize)(const std::byte* source, std::int64_t blocks, float* target) = nullptr;
};

/// nullptr for a type that cannot be read.
const GgufTensorType* find_gguf_tensor_type(std::uint32_t id);

/// What errors call a type, known or not: "Q2_K", "type 99".
std::string gguf_tensor_type_name(std::uint32_t id);

}  // namespace hedgehog

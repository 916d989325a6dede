#include "hedgehog/checkpoint/gguf_quantization.h"

#include "hedgehog/base/error.h"

#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace hedgehog {
namespace {

constexpr int kSmall = 32;   // weights in a block of the plain types
constexpr int kLarge = 256;  // and of the K types

float half_at(const std::uint8_t* bytes) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, bytes, 2);
  return static_cast<float>(c10::Half(bits, c10::Half::from_bits()));
}

std::uint32_t word_at(const std::uint8_t* bytes) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes, 4);
  return word;
}

// Calls block(source, target) for each block.
template <int kWeights, int kBytes, typename Block>
void for_blocks(const std::byte* source, std::int64_t blocks, float* target, Block block) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(source);
  for (std::int64_t i = 0; i < blocks; ++i, bytes += kBytes, target += kWeights) {
    block(bytes, target);
  }
}

// scale | 16 bytes of two nibbles: weight i in the low one, i + 16 in the high one. Value: scale · (nibble − 8).
void q4_0(const std::byte* source, std::int64_t blocks, float* target) {
  for_blocks<kSmall, 18>(source, blocks, target, [](const std::uint8_t* b, float* y) {
    const float scale = half_at(b);
    for (int i = 0; i < 16; ++i) {
      y[i] = scale * static_cast<float>((b[2 + i] & 0x0F) - 8);
      y[i + 16] = scale * static_cast<float>((b[2 + i] >> 4) - 8);
    }
  });
}

// scale | minimum | nibbles. Value: scale · nibble + minimum.
void q4_1(const std::byte* source, std::int64_t blocks, float* target) {
  for_blocks<kSmall, 20>(source, blocks, target, [](const std::uint8_t* b, float* y) {
    const float scale = half_at(b), minimum = half_at(b + 2);
    for (int i = 0; i < 16; ++i) {
      y[i] = scale * static_cast<float>(b[4 + i] & 0x0F) + minimum;
      y[i + 16] = scale * static_cast<float>(b[4 + i] >> 4) + minimum;
    }
  });
}

// scale | 32 fifth bits | nibbles. Value: scale · (five bits − 16).
void q5_0(const std::byte* source, std::int64_t blocks, float* target) {
  for_blocks<kSmall, 22>(source, blocks, target, [](const std::uint8_t* b, float* y) {
    const float scale = half_at(b);
    const std::uint32_t fifth = word_at(b + 2);
    for (int i = 0; i < 16; ++i) {
      const auto low = static_cast<int>((b[6 + i] & 0x0FU) | ((fifth >> i & 1U) << 4));
      const auto high = static_cast<int>((b[6 + i] >> 4U) | ((fifth >> (i + 16) & 1U) << 4));
      y[i] = scale * static_cast<float>(low - 16);
      y[i + 16] = scale * static_cast<float>(high - 16);
    }
  });
}

// scale | minimum | 32 fifth bits | nibbles. Value: scale · five bits + minimum.
void q5_1(const std::byte* source, std::int64_t blocks, float* target) {
  for_blocks<kSmall, 24>(source, blocks, target, [](const std::uint8_t* b, float* y) {
    const float scale = half_at(b), minimum = half_at(b + 2);
    const std::uint32_t fifth = word_at(b + 4);
    for (int i = 0; i < 16; ++i) {
      y[i] = scale * static_cast<float>((b[8 + i] & 0x0FU) | ((fifth >> i & 1U) << 4)) + minimum;
      y[i + 16] = scale * static_cast<float>((b[8 + i] >> 4U) | ((fifth >> (i + 16) & 1U) << 4)) + minimum;
    }
  });
}

// scale | 32 signed bytes.
void q8_0(const std::byte* source, std::int64_t blocks, float* target) {
  for_blocks<kSmall, 34>(source, blocks, target, [](const std::uint8_t* b, float* y) {
    const float scale = half_at(b);
    for (int i = 0; i < kSmall; ++i) {
      y[i] = scale * static_cast<float>(static_cast<std::int8_t>(b[2 + i]));
    }
  });
}

struct SubScales {
  std::array<float, 8> scale, minimum;
};

// 8 scales and 8 minimums of 6 bits in 12 bytes, times the block's two fp16 factors: the first four of each have a byte (its
// low 6 bits), the last four a nibble in bytes 8 to 11 and their two highest bits atop the first eight bytes.
SubScales sub_scales(const std::uint8_t* b) {
  const float factor = half_at(b), minimum_factor = half_at(b + 2);
  const std::uint8_t* packed = b + 4;
  SubScales s{};
  for (int i = 0; i < 4; ++i) {
    const int scale_high = (packed[8 + i] & 0x0F) | (packed[i] >> 2 & 0x30);
    const int minimum_high = (packed[8 + i] >> 4) | (packed[4 + i] >> 2 & 0x30);
    s.scale[i] = factor * static_cast<float>(packed[i] & 0x3F);
    s.scale[i + 4] = factor * static_cast<float>(scale_high);
    s.minimum[i] = minimum_factor * static_cast<float>(packed[4 + i] & 0x3F);
    s.minimum[i + 4] = minimum_factor * static_cast<float>(minimum_high);
  }
  return s;
}

// factor | minimum's factor | 12 bytes of sub-scales | four groups of 32 bytes: 32 low nibbles, then 32 high ones.
// Value: scale · nibble − minimum, the two per 32 weights.
void q4_k(const std::byte* source, std::int64_t blocks, float* target) {
  for_blocks<kLarge, 144>(source, blocks, target, [](const std::uint8_t* b, float* y) {
    const SubScales s = sub_scales(b);
    for (int sub = 0; sub < 8; ++sub) {
      const std::uint8_t* nibbles = b + 16 + sub / 2 * 32;
      const int shift = sub % 2 * 4;
      for (int i = 0; i < 32; ++i) {
        y[sub * 32 + i] = s.scale[sub] * static_cast<float>(nibbles[i] >> shift & 0x0F) - s.minimum[sub];
      }
    }
  });
}

// As Q4_K with 32 bytes of fifth bits before the nibbles: bit `sub` of byte i belongs to weight i of sub-block `sub`.
void q5_k(const std::byte* source, std::int64_t blocks, float* target) {
  for_blocks<kLarge, 176>(source, blocks, target, [](const std::uint8_t* b, float* y) {
    const SubScales s = sub_scales(b);
    const std::uint8_t* fifth = b + 16;
    for (int sub = 0; sub < 8; ++sub) {
      const std::uint8_t* nibbles = b + 48 + sub / 2 * 32;
      const int shift = sub % 2 * 4;
      for (int i = 0; i < 32; ++i) {
        const int value = (nibbles[i] >> shift & 0x0F) | ((fifth[i] >> sub & 1) << 4);
        y[sub * 32 + i] = s.scale[sub] * static_cast<float>(value) - s.minimum[sub];
      }
    }
  });
}

// Low nibbles, 128 bytes | high two bits, 64 bytes | 16 signed sub-scales | factor. Each half of 128 weights is four rows of
// 32: low nibbles of 64 bytes, then their high ones; row r takes bits 2r of the half's 32 bytes. Value: scale · (six bits −
// 32).
void q6_k(const std::byte* source, std::int64_t blocks, float* target) {
  for_blocks<kLarge, 210>(source, blocks, target, [](const std::uint8_t* b, float* y) {
    const float factor = half_at(b + 208);
    for (int half = 0; half < 2; ++half) {
      const std::uint8_t* low = b + half * 64;
      const std::uint8_t* high = b + 128 + half * 32;
      for (int row = 0; row < 4; ++row) {
        for (int i = 0; i < 32; ++i) {
          const int nibble = low[row % 2 * 32 + i] >> (row / 2 * 4) & 0x0F;
          const int value = (nibble | ((high[i] >> (2 * row) & 3) << 4)) - 32;
          const auto scale = static_cast<std::int8_t>(b[192 + half * 8 + row * 2 + i / 16]);
          y[half * 128 + row * 32 + i] = factor * static_cast<float>(scale) * static_cast<float>(value);
        }
      }
    }
  });
}

using c10::ScalarType;

constexpr std::array<GgufTensorType, 16> kTypes = {{
    {0, "F32", 1, 4, ScalarType::Float, nullptr},
    {1, "F16", 1, 2, ScalarType::Half, nullptr},
    {2, "Q4_0", kSmall, 18, ScalarType::Float, q4_0},
    {3, "Q4_1", kSmall, 20, ScalarType::Float, q4_1},
    {6, "Q5_0", kSmall, 22, ScalarType::Float, q5_0},
    {7, "Q5_1", kSmall, 24, ScalarType::Float, q5_1},
    {8, "Q8_0", kSmall, 34, ScalarType::Float, q8_0},
    {12, "Q4_K", kLarge, 144, ScalarType::Float, q4_k},
    {13, "Q5_K", kLarge, 176, ScalarType::Float, q5_k},
    {14, "Q6_K", kLarge, 210, ScalarType::Float, q6_k},
    {24, "I8", 1, 1, ScalarType::Char, nullptr},
    {25, "I16", 1, 2, ScalarType::Short, nullptr},
    {26, "I32", 1, 4, ScalarType::Int, nullptr},
    {27, "I64", 1, 8, ScalarType::Long, nullptr},
    {28, "F64", 1, 8, ScalarType::Double, nullptr},
    {30, "BF16", 1, 2, ScalarType::BFloat16, nullptr},
}};

}  // namespace

const GgufTensorType* find_gguf_tensor_type(std::uint32_t id) {
  const auto* found = std::find_if(kTypes.begin(), kTypes.end(), [&](const GgufTensorType& type) { return type.id == id; });
  return found == kTypes.end() ? nullptr : found;
}

std::string gguf_tensor_type_name(std::uint32_t id) {
  if (const GgufTensorType* type = find_gguf_tensor_type(id)) {
    return std::string(type->name);
  }
  static constexpr std::array<std::pair<std::uint32_t, std::string_view>, 15> kOthers = {{
      {9, "Q8_1"},
      {10, "Q2_K"},
      {11, "Q3_K"},
      {15, "Q8_K"},
      {16, "IQ2_XXS"},
      {17, "IQ2_XS"},
      {18, "IQ3_XXS"},
      {19, "IQ1_S"},
      {20, "IQ4_NL"},
      {21, "IQ3_S"},
      {22, "IQ2_S"},
      {23, "IQ4_XS"},
      {29, "IQ1_M"},
      {34, "TQ1_0"},
      {35, "TQ2_0"},
  }};
  for (const auto& [other, name] : kOthers) {
    if (other == id) {
      return std::string(name);
    }
  }
  return fmt::format("type {}", id);
}

}  // namespace hedgehog

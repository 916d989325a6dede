// Bytes as a *.zst file holds them.
#pragma once

#include <zstd.h>

#include <string>
#include <string_view>

namespace hedgehog::testing {

inline std::string compressed(std::string_view text) {
  std::string bytes(ZSTD_compressBound(text.size()), '\0');
  bytes.resize(ZSTD_compress(bytes.data(), bytes.size(), text.data(), text.size(), 3));
  return bytes;
}

}  // namespace hedgehog::testing

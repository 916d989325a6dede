// What the tokenizer's tests share to hold results against fixtures.
#pragma once

#include "hedgehog/tokenizer/unicode.h"
#include "tests/tokenizer/mixed_text.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <concepts>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog::testing {

inline std::string fingerprint_of(std::string_view bytes) {
  Fingerprint fingerprint;
  for (const char byte : bytes) {
    fingerprint.add(static_cast<unsigned char>(byte));
  }
  return fmt::format("{:016x}", fingerprint.value);
}

template <std::integral Item>
std::string fingerprint_of(const std::vector<Item>& items) {
  Fingerprint fingerprint;
  for (const Item item : items) {
    fingerprint.add(static_cast<std::uint64_t>(item));
  }
  return fmt::format("{:016x}", fingerprint.value);
}

/// A tokenizer.json that differs from a base in some parts: these are replaced, of the model single fields.
inline nlohmann::json patched(nlohmann::json description, const nlohmann::json& patch) {
  for (const auto& [part, value] : patch.items()) {
    if (part == "model") {
      description["model"].update(value["$model"]);
    } else {
      description[part] = value;
    }
  }
  return description;
}

/// The decoded bytes may end a token inside a character; the library replaces what is broken.
inline std::string repaired(const std::string& bytes) {
  std::string buffer;
  return std::string(replace_broken_utf8(bytes, buffer));
}

}  // namespace hedgehog::testing

// Replace of tokenizer.json, normalizer and decoder: every match of a pattern becomes the same text.
#pragma once

#include "hedgehog/tokenizer/regex.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace hedgehog {

class Replace {
 public:
  /// From an entry of type "Replace" of tokenizer.json. Throws Error for a pattern that is neither a string nor a regular
  /// expression.
  explicit Replace(const nlohmann::json& description);
  /// Of valid UTF-8. Throws Error where a regular expression meets PCRE2's limits.
  std::string operator()(std::string_view text) const;

 private:
  std::string literal_;
  std::optional<Regex> regex_;  // else the literal
  std::string content_;
};

}  // namespace hedgehog

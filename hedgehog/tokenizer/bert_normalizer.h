// BERT's normalizer: no control characters, one kind of blank, blanks around ideographs, no accents, lower case; each of the
// four if tokenizer.json says so.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace hedgehog {

class BertNormalizer {
 public:
  /// From an entry of type "BertNormalizer" of tokenizer.json.
  explicit BertNormalizer(const nlohmann::json& description);
  /// Valid UTF-8 to valid UTF-8.
  std::string operator()(std::string_view text) const;

 private:
  std::string cleaned(std::string_view text) const;

  bool clean_text_, handle_chinese_chars_, strip_accents_, lowercase_;
};

/// Valid UTF-8 in lower case, each character on its own.
std::string lowercase(std::string_view text);

}  // namespace hedgehog

// `normalizer` of tokenizer.json: none, NFC, NFD, NFKC, NFKD, Lowercase, BertNormalizer, Prepend, Replace, Sequence.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

class Normalizer {
 public:
  /// `description` may be null: no normalization. Throws Error that names a kind that is not known.
  explicit Normalizer(const nlohmann::json& description);
  bool empty() const { return steps_.empty(); }
  /// Valid UTF-8 to valid UTF-8; the result is `text` itself or lies in `buffer`.
  std::string_view apply(std::string_view text, std::string& buffer) const;

 private:
  void add(const nlohmann::json& description, int depth);
  std::vector<std::function<std::string(std::string_view)>> steps_;
  bool only_nfc_ = false;
};

}  // namespace hedgehog

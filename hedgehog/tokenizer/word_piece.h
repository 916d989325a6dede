// WordPiece: a word is cut greedily into the longest tokens of the vocabulary, those behind the first written with a prefix
// ("##"). A word for which that fails, or that is too long, is one unknown token as a whole.
#pragma once

#include "hedgehog/tokenizer/token_model.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

class WordPiece final : public TokenModel {
 public:
  /// From `model` of tokenizer.json. Throws Error for fields that are missing or damaged, and for an unknown token that is not
  /// in the vocabulary.
  explicit WordPiece(const nlohmann::json& model);

  void encode_word(std::string_view word, std::vector<std::int32_t>& ids) const override;
  const TokenMap& vocabulary() const override { return vocabulary_; }

 private:
  void encode_uncached(std::string_view word, std::vector<std::int32_t>& ids) const;

  TokenMap vocabulary_;
  TokenMap continuations_;   // the tokens that begin with the prefix, without it
  std::size_t longest_ = 0;  // bytes of the longest token
  std::int32_t unknown_ = 0;
  std::uint64_t maximum_characters_ = 100;
  std::uint32_t cache_owner_;
};

}  // namespace hedgehog

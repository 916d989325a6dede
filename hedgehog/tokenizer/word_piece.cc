#include "hedgehog/tokenizer/word_piece.h"

#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/unicode.h"
#include "hedgehog/tokenizer/word_cache.h"

#include <algorithm>

namespace hedgehog {

WordPiece::WordPiece(const nlohmann::json& model) : vocabulary_(read_vocabulary(model)), cache_owner_(WordCache::new_owner()) {
  const std::string unknown = string_field(model, "unk_token", "WordPiece");
  const auto found = vocabulary_.find(unknown);
  check(found != vocabulary_.end(), "tokenizer.json: WordPiece: the unknown token '{}' is not in the vocabulary",
        unknown.substr(0, 80));
  unknown_ = found->second;
  const std::string prefix = string_field(model, "continuing_subword_prefix", "WordPiece");
  maximum_characters_ = count_field(model, "max_input_chars_per_word", "WordPiece");
  for (const auto& [text, id] : vocabulary_) {
    longest_ = std::max(longest_, text.size());
    if (text.starts_with(prefix)) {
      continuations_.emplace(text.substr(prefix.size()), id);
    }
  }
}

void WordPiece::encode_word(std::string_view word, std::vector<std::int32_t>& ids) const {
  WordCache::encode(word, cache_owner_, ids,
                    [this](std::string_view uncached, std::vector<std::int32_t>& to) { encode_uncached(uncached, to); });
}

void WordPiece::encode_uncached(std::string_view word, std::vector<std::int32_t>& ids) const {
  const auto begins_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  const std::size_t before = ids.size();
  bool known = static_cast<std::uint64_t>(std::count_if(word.begin(), word.end(), begins_character)) <= maximum_characters_;
  for (std::size_t begin = 0; known && begin < word.size();) {
    const TokenMap& tokens = begin == 0 ? vocabulary_ : continuations_;
    std::size_t end = std::min(word.size(), begin + longest_);
    while (end < word.size() && !begins_character(word[end])) {
      --end;
    }
    auto found = tokens.end();
    while (end > begin && (found = tokens.find(word.substr(begin, end - begin))) == tokens.end()) {
      end = previous_character(word, end);
    }
    known = found != tokens.end();
    if (known) {
      ids.push_back(found->second);
    }
    begin = end;
  }
  if (!known) {
    ids.resize(before);
    ids.push_back(unknown_);
  }
}

}  // namespace hedgehog

// Ids, search, and the rules at a match's borders.
#include "hedgehog/tokenizer/added_tokens.h"

#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/unicode.h"

#include <algorithm>
#include <map>

namespace hedgehog {
namespace {

constexpr std::size_t kMaximumLength = 1024;

bool class_before(std::string_view text, std::size_t position, std::uint8_t wanted) {
  return position > 0 &&
         (CharacterClasses::get()[decode_character(text.data() + previous_character(text, position)).value] & wanted);
}

bool class_at(std::string_view text, std::size_t position, std::uint8_t wanted) {
  return position < text.size() && (CharacterClasses::get()[decode_character(text.data() + position).value] & wanted);
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<std::string> patterns, std::vector<AddedToken> tokens) {
  std::map<std::string, AddedToken> sorted;  // of equal patterns the first counts
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    sorted.emplace(std::move(patterns[i]), std::move(tokens[i]));
  }
  for (auto& [pattern, token] : sorted) {
    ++first_byte_[static_cast<unsigned char>(pattern[0]) + 1];
    entries_.push_back({pattern, std::move(token)});
  }
  for (int byte = 0; byte < 256; ++byte) {
    first_byte_[byte + 1] += first_byte_[byte];
  }
}

const AddedToken* AddedTokenMatcher::find(std::string_view text, std::size_t& position, std::size_t& end) const {
  if (entries_.empty()) {
    return nullptr;
  }
  for (; position < text.size(); ++position) {
    const auto byte = static_cast<unsigned char>(text[position]);
    auto low = entries_.begin() + first_byte_[byte];
    auto high = entries_.begin() + first_byte_[byte + 1];
    const AddedToken* longest = nullptr;
    for (std::size_t depth = 1; low != high; ++depth) {
      if (low->pattern.size() == depth) {
        longest = &low->token;
        end = position + depth;
        ++low;
      }
      if (position + depth >= text.size()) {
        break;
      }
      const auto next = static_cast<unsigned char>(text[position + depth]);
      const auto at = [depth](const Entry& entry) { return static_cast<unsigned char>(entry.pattern[depth]); };
      low = std::partition_point(low, high, [&](const Entry& entry) { return at(entry) < next; });
      high = std::partition_point(low, high, [&](const Entry& entry) { return at(entry) == next; });
    }
    if (longest != nullptr) {
      return longest;
    }
  }
  return nullptr;
}

bool AddedTokenMatcher::stretch(std::string_view text, const AddedToken& token, std::size_t done, std::size_t& begin,
                                std::size_t& end) {
  if (token.single_word &&
      (class_before(text, begin, CharacterClasses::kWord) || class_at(text, end, CharacterClasses::kWord))) {
    return false;
  }
  if (token.left_strip) {
    // Blanks that the token before took are gone already.
    while (begin > done && class_before(text, begin, CharacterClasses::kSpace)) {
      begin = previous_character(text, begin);
    }
    begin = std::max(begin, done);
  }
  if (token.right_strip) {
    while (class_at(text, end, CharacterClasses::kSpace)) {
      end += decode_character(text.data() + end).bytes;
    }
  }
  return true;
}

std::vector<AddedToken> read_added_tokens(const nlohmann::json& description, const TokenMap& vocabulary) {
  std::vector<AddedToken> tokens;
  if (description.is_null()) {
    return tokens;
  }
  check(description.is_array(), "tokenizer.json: added_tokens should be an array, found {}", description.type_name());
  const auto vocabulary_size = static_cast<std::int32_t>(vocabulary.size());
  std::int32_t highest = -1;  // of the added tokens' ids
  std::unordered_map<std::string, std::size_t> seen;
  for (const auto& entry : description) {
    AddedToken token;
    token.content = string_field(entry, "content", "added_tokens");
    if (token.content.empty()) {
      continue;
    }
    check(token.content.size() <= kMaximumLength, "tokenizer.json: an added token of {} bytes, more than the {} allowed",
          token.content.size(), kMaximumLength);
    token.special = flag_field(entry, "special", false);
    token.normalized = flag_field(entry, "normalized", !token.special);
    token.left_strip = flag_field(entry, "lstrip", false);
    token.right_strip = flag_field(entry, "rstrip", false);
    token.single_word = flag_field(entry, "single_word", false);
    const auto [place, first] = seen.emplace(token.content, tokens.size());
    if (!first) {
      token.id = tokens[place->second].id;
      tokens[place->second] = std::move(token);
      continue;
    }
    const auto known = vocabulary.find(token.content);
    // The file's own id counts for nothing to the library, so neither does it here.
    token.id = known != vocabulary.end()                                              ? known->second
               : highest >= vocabulary_size || (highest >= 0 && vocabulary_size == 0) ? highest + 1
                                                                                      : vocabulary_size;
    highest = std::max(highest, token.id);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

AddedTokenMatcher make_matcher(const std::vector<AddedToken>& tokens, bool normalized, const Normalizer& normalizer) {
  std::vector<std::string> patterns;
  std::vector<AddedToken> chosen;
  for (const AddedToken& token : tokens) {
    if (token.normalized != normalized) {
      continue;
    }
    std::string buffer;
    std::string pattern(normalized ? normalizer.apply(token.content, buffer) : std::string_view(token.content));
    if (!pattern.empty()) {
      patterns.push_back(std::move(pattern));
      chosen.push_back(token);
    }
  }
  return {std::move(patterns), std::move(chosen)};
}

}  // namespace hedgehog

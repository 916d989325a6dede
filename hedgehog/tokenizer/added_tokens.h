// `added_tokens` of tokenizer.json: tokens that are found in the text before it is cut into words.
#pragma once

#include "hedgehog/tokenizer/normalizer.h"
#include "hedgehog/tokenizer/token_model.h"

#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

struct AddedToken {
  std::string content;
  std::int32_t id = -1;
  bool special = false;      // left out by decode(skip_special)
  bool normalized = false;   // looked for in the normalized text, in its own normalized form
  bool left_strip = false;   // takes the blanks before it with it
  bool right_strip = false;  // and those behind it
  bool single_word = false;  // only where no word character touches it
};

/// Finds the leftmost, of these the longest, of a set of strings: a sorted list that is narrowed byte by byte.
class AddedTokenMatcher {
 public:
  /// `patterns[i]` stands for `tokens[i]`; patterns must not be empty.
  AddedTokenMatcher(std::vector<std::string> patterns, std::vector<AddedToken> tokens);

  /// Calls on_text(view) and on_token(id) in the order of the text, for all of it.
  template <typename OnText, typename OnToken>
  void split(std::string_view text, OnText&& on_text, OnToken&& on_token) const {
    std::size_t done = 0;
    for (std::size_t position = 0; position < text.size();) {
      std::size_t end = 0;
      const AddedToken* token = find(text, position, end);
      if (token == nullptr) {
        break;
      }
      std::size_t begin = position;
      position = end;
      if (!stretch(text, *token, done, begin, end)) {
        continue;
      }
      if (done < begin) {
        on_text(text.substr(done, begin - done));
      }
      on_token(token->id);
      done = end;
    }
    if (done < text.size()) {
      on_text(text.substr(done));
    }
  }

 private:
  /// The next match from `position` on, which is moved to its begin.
  const AddedToken* find(std::string_view text, std::size_t& position, std::size_t& end) const;
  /// Applies single_word (false: no match after all) and the strips.
  static bool stretch(std::string_view text, const AddedToken& token, std::size_t done, std::size_t& begin, std::size_t& end);

  struct Entry {
    std::string pattern;
    AddedToken token;
  };
  std::vector<Entry> entries_;                   // by pattern
  std::array<std::uint32_t, 257> first_byte_{};  // entries_[first_byte_[b], first_byte_[b + 1]) start with byte b
};

/// The added tokens with the ids that the `tokenizers` library gives them: the vocabulary's, else the next one that is free.
std::vector<AddedToken> read_added_tokens(const nlohmann::json& description, const TokenMap& vocabulary);

/// Those with `normalized`, or those without. Patterns are normalized for the former.
AddedTokenMatcher make_matcher(const std::vector<AddedToken>& tokens, bool normalized, const Normalizer& normalizer);

}  // namespace hedgehog

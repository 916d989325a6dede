// What BERT's normalizer and pre-tokenizer ask about characters.
#pragma once

#include "hedgehog/tokenizer/unicode.h"

#include <cstdint>
#include <string>

namespace hedgehog {

/// Classes of every code point, built at the first use.
class BertCharacters {
 public:
  enum Class : std::uint8_t {
    kRemoved = 1,       // control characters, U+0000 and U+FFFD
    kBlank = 2,         // becomes a blank
    kIdeograph = 4,     // stands between blanks
    kMark = 8,          // an accent
    kSeparator = 16,    // between words
    kPunctuation = 32,  // a word of its own
  };

  static const BertCharacters& get();
  std::uint8_t operator[](char32_t code_point) const { return table_[code_point]; }

 private:
  BertCharacters();
  CodePointTable table_;
};

/// Appends the lower case of a character, which is one character, or two for U+0130.
void append_lowercase(std::string& text, char32_t code_point);

}  // namespace hedgehog

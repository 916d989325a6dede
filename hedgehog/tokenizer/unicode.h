// UTF-8 and character classes: what every step of the tokenizer before the merges stands on.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

/// A byte for every code point, in a table of two stages (about 60 KB): equal blocks of 256 are kept once.
class CodePointTable {
 public:
  /// `flat` has 0x110000 bytes.
  explicit CodePointTable(const std::vector<std::uint8_t>& flat);
  std::uint8_t operator[](char32_t code_point) const { return blocks_[stage_[code_point >> 8]][code_point & 255]; }

 private:
  std::array<std::uint16_t, 0x1100> stage_;
  std::vector<std::array<std::uint8_t, 256>> blocks_;
};

/// Classes of every code point, built at the first use.
class CharacterClasses {
 public:
  enum Class : std::uint8_t {
    kLetter = 1,         // \p{L}
    kNumber = 2,         // \p{N}
    kSpace = 4,          // \s: White_Space
    kNumeric = 8,        // a digit to the Digits pre-tokenizer
    kWord = 16,          // \w to `single_word`
    kNormalizing = 32,   // may change, or change its neighbours, under NFC
    kUnnormalized = 64,  // would too for utf8proc, but the library's tables are older: it leaves it alone
  };

  static const CharacterClasses& get();
  std::uint8_t operator[](char32_t code_point) const { return table_[code_point]; }

 private:
  CharacterClasses();
  CodePointTable table_;
};

struct CodePoint {
  char32_t value;
  std::uint32_t bytes;
};

/// The character at the start of valid UTF-8.
inline CodePoint decode_character(const char* text) {
  const auto at = [text](int i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
  const char32_t lead = at(0);
  if (lead < 0x80) {
    return {lead, 1};
  }
  if (lead < 0xE0) {
    return {(lead & 0x1F) << 6 | (at(1) & 0x3F), 2};
  }
  if (lead < 0xF0) {
    return {(lead & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F), 3};
  }
  return {(lead & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F), 4};
}

/// The start of the character that ends before `position` > 0, in valid UTF-8.
inline std::size_t previous_character(std::string_view text, std::size_t position) {
  do {
    --position;
  } while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  return position;
}

void append_utf8(std::string& text, char32_t code_point);

/// U+2581, which SentencePiece writes for a blank.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

/// Where the word that starts at `begin` ends: before the next U+2581 that stands behind another character, or with the text.
std::size_t marked_word_end(std::string_view text, std::size_t begin);

/// The length of the valid UTF-8 at the start of `text`.
std::size_t valid_utf8_prefix(std::string_view text);

/// `text` itself if it is valid UTF-8; else a copy in `buffer` with every maximal ill-formed subpart replaced by U+FFFD, as
/// Python's bytes.decode("utf-8", "replace") does.
std::string_view replace_broken_utf8(std::string_view text, std::string& buffer);

/// Byte-level BPE writes a byte as one printable character of U+0021 to U+0143; this is GPT-2's table.
char32_t byte_to_character(std::uint8_t byte);
/// The byte, or -1 if the character stands for none.
int character_to_byte(char32_t code_point);
/// The bytes that a token's text stands for. A text with a character that stands for no byte stays as it is.
std::string token_text_to_bytes(std::string_view text);
std::string bytes_to_token_text(std::string_view bytes);

}  // namespace hedgehog

// Building the class table, checking and repairing UTF-8, and the byte alphabet of byte-level BPE.
#include "hedgehog/tokenizer/unicode.h"

#include "hedgehog/tokenizer/unicode_tables.h"

#include <utf8proc.h>

#include <algorithm>
#include <map>

namespace hedgehog {
namespace {

constexpr char32_t kSpaces[][2] = {{0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
                                   {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};

// Whether a character that decomposes, and that NFC composes again, is younger than the library's tables. Compositions outside
// the first plane are few; these are the ones that it knows.
bool newly_composed(char32_t c) {
  static constexpr char32_t kKnown[] = {0x1109A, 0x1109C, 0x110AB, 0x1112E, 0x1112F, 0x1134B,
                                        0x1134C, 0x114BB, 0x114BC, 0x114BE, 0x115BA, 0x115BB};
  return c >= 0x10000 && std::find(std::begin(kKnown), std::end(kKnown), c) == std::end(kKnown);
}

// Flags what utf8proc would reorder, decompose or compose with the character before it, but the library, whose tables are of an
// older Unicode, does not: without `known`.
void flag_newer(std::vector<std::uint8_t>& flat, std::uint8_t known, std::uint8_t flag) {
  const auto set = [&](char32_t c) { flat[c] |= flat[c] & known ? 0 : flag; };
  for (char32_t c = 0x300; c < 0x110000; ++c) {
    const utf8proc_property_t* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
    if (property->combining_class != 0) {
      set(c);
    }
    const bool decomposes = property->decomp_seqindex != UINT16_MAX && property->decomp_type == 0;
    if (decomposes && !(flat[c] & known)) {
      utf8proc_int32_t parts[16];
      int last_boundary = 0;
      const utf8proc_ssize_t count =
          utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 16, UTF8PROC_DECOMPOSE, &last_boundary);
      if (count > 1 && count <= 16 && newly_composed(c)) {
        set(c);
        set(static_cast<char32_t>(parts[count - 1]));
      }
    }
  }
}

std::vector<std::uint8_t> character_classes() {
  std::vector<std::uint8_t> flat(0x110000, 0);
  const auto mark = [&flat](std::span<const CodePointRange> ranges, std::uint8_t bit) {
    for (const CodePointRange& range : ranges) {
      for (char32_t c = range.first; c <= range.last; ++c) {
        flat[c] |= bit;
      }
    }
  };
  mark(unicode_letters(), CharacterClasses::kLetter);
  mark(unicode_numbers(), CharacterClasses::kNumber);
  mark(unicode_numerics(), CharacterClasses::kNumeric);
  mark(unicode_words(), CharacterClasses::kWord);
  for (const auto& range : kSpaces) {
    for (char32_t c = range[0]; c <= range[1]; ++c) {
      flat[c] |= CharacterClasses::kSpace;
    }
  }
  mark(unicode_normalizing(), CharacterClasses::kNormalizing);
  flag_newer(flat, CharacterClasses::kNormalizing, CharacterClasses::kUnnormalized);
  return flat;
}

struct ByteAlphabet {
  std::array<char32_t, 256> character;
  std::array<std::int16_t, 0x180> byte;

  ByteAlphabet() {
    byte.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      character[b] = printable ? static_cast<char32_t>(b) : next++;
      byte[character[b]] = static_cast<std::int16_t>(b);
    }
  }
};

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

// The length of the well-formed character at the start of `text`, or minus the length of the ill-formed subpart there:
// the longest start of a well-formed character, at least one byte.
int scan_character(std::string_view text) {
  const auto at = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = at(0);
  if (lead < 0x80) {
    return 1;
  }
  if (lead < 0xC2 || lead > 0xF4) {
    return -1;
  }
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range keeps out overlong forms, surrogates and what lies above U+10FFFF.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (int i = 1; i < length; ++i) {
    if (static_cast<std::size_t>(i) >= text.size() || at(i) < (i == 1 ? low : 0x80) || at(i) > (i == 1 ? high : 0xBF)) {
      return -i;
    }
  }
  return length;
}

}  // namespace

CodePointTable::CodePointTable(const std::vector<std::uint8_t>& flat) {
  std::map<std::array<std::uint8_t, 256>, std::uint16_t> seen;
  for (std::size_t i = 0; i < stage_.size(); ++i) {
    std::array<std::uint8_t, 256> block;
    std::copy_n(flat.begin() + i * 256, 256, block.begin());
    const auto [entry, inserted] = seen.emplace(block, static_cast<std::uint16_t>(blocks_.size()));
    if (inserted) {
      blocks_.push_back(block);
    }
    stage_[i] = entry->second;
  }
}

CharacterClasses::CharacterClasses() : table_(character_classes()) {}

const CharacterClasses& CharacterClasses::get() {
  static const CharacterClasses classes;
  return classes;
}

void append_utf8(std::string& text, char32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6);
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | c >> 12);
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | c >> 18);
    text += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::size_t marked_word_end(std::string_view text, std::size_t begin) {
  std::size_t at = begin;
  while (text.substr(at).starts_with(kSpaceMark)) {
    at += kSpaceMark.size();
  }
  return std::min(text.find(kSpaceMark, at), text.size());
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    while (i + 8 <= text.size()) {
      std::uint64_t word;
      std::copy_n(text.data() + i, 8, reinterpret_cast<char*>(&word));
      if (word & 0x8080808080808080ULL) {
        break;
      }
      i += 8;
    }
    if (i == text.size()) {
      break;
    }
    const int length = scan_character(text.substr(i));
    if (length < 0) {
      return i;
    }
    i += static_cast<std::size_t>(length);
  }
  return i;
}

std::string_view replace_broken_utf8(std::string_view text, std::string& buffer) {
  std::size_t valid = valid_utf8_prefix(text);
  if (valid == text.size()) {
    return text;
  }
  buffer.clear();
  while (true) {
    buffer.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) {
      return buffer;
    }
    buffer.append("\xEF\xBF\xBD");
    text.remove_prefix(static_cast<std::size_t>(-scan_character(text)));
    valid = valid_utf8_prefix(text);
  }
}

char32_t byte_to_character(std::uint8_t byte) {
  return byte_alphabet().character[byte];
}

int character_to_byte(char32_t code_point) {
  const ByteAlphabet& alphabet = byte_alphabet();
  return code_point < alphabet.byte.size() ? alphabet.byte[code_point] : -1;
}

std::string token_text_to_bytes(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_character(text.data() + i);
    const int byte = character_to_byte(c.value);
    if (byte < 0) {
      return std::string(text);
    }
    bytes += static_cast<char>(byte);
    i += c.bytes;
  }
  return bytes;
}

std::string bytes_to_token_text(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    append_utf8(text, byte_to_character(static_cast<std::uint8_t>(byte)));
  }
  return text;
}

}  // namespace hedgehog

// The alternatives of the three regular expressions, tried in their order at each position.
#include "hedgehog/tokenizer/scanner.h"

namespace hedgehog {
namespace {

constexpr std::uint8_t kLetter = CharacterClasses::kLetter;
constexpr std::uint8_t kNumber = CharacterClasses::kNumber;
constexpr std::uint8_t kSpace = CharacterClasses::kSpace;
constexpr std::uint8_t kNamed = kLetter | kNumber | kSpace;

constexpr std::string_view kGpt2Regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

bool is_newline(char c) {
  return c == '\r' || c == '\n';
}

// The length of 's 't 'm 'd 're 've 'll at the start of `text`, which starts with an apostrophe; 0 if there is none.
std::size_t contraction(std::string_view text, bool ignore_case) {
  const auto letter = [&](std::size_t i) -> char {
    if (i >= text.size()) {
      return '\0';
    }
    const char c = text[i];
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') {
    return 2;
  }
  const char second = letter(2);
  if (((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l')) {
    return 3;
  }
  // U+017F, the long s, is an s to a comparison that ignores case.
  if (ignore_case && text.substr(1).starts_with("\xC5\xBF")) {
    return 3;
  }
  return 0;
}

}  // namespace

std::string_view known_pattern_regex(KnownPattern pattern) {
  return pattern == KnownPattern::kGpt2 ? kGpt2Regex : pattern == KnownPattern::kLlama3 ? kLlama3Regex : kQwen2Regex;
}

std::optional<KnownPattern> find_known_pattern(std::string_view regex) {
  for (const KnownPattern pattern : {KnownPattern::kGpt2, KnownPattern::kLlama3, KnownPattern::kQwen2}) {
    if (regex == known_pattern_regex(pattern)) {
      return pattern;
    }
  }
  return std::nullopt;
}

// The end of the run of characters with (class & mask) == wanted, or, where wanted is 0, with no class of the mask.
std::size_t Scanner::run(std::string_view text, std::size_t position, std::uint8_t mask, std::uint8_t wanted) const {
  while (position < text.size()) {
    const CodePoint c = decode_character(text.data() + position);
    if ((classes_[c.value] & mask) != wanted) {
      break;
    }
    position += c.bytes;
  }
  return position;
}

// A run of blanks: up to its last newline if `newlines_apart`, else all but the last blank, which goes with what follows it.
std::size_t Scanner::blanks(std::string_view text, std::size_t begin, bool newlines_apart) const {
  const std::size_t end = run(text, begin, kSpace, kSpace);
  if (newlines_apart) {
    for (std::size_t i = end; i > begin; --i) {
      if (is_newline(text[i - 1])) {
        return i;
      }
    }
  }
  if (end == text.size()) {
    return end;
  }
  const std::size_t last = previous_character(text, end);
  return last > begin ? last : end;
}

std::size_t Scanner::next_gpt2(std::string_view text, std::size_t begin) const {
  if (text[begin] == '\'') {
    if (const std::size_t length = contraction(text.substr(begin), false)) {
      return begin + length;
    }
  }
  std::size_t start = begin;
  if (text[begin] == ' ') {
    ++start;
    if (start == text.size()) {
      return start;
    }
  }
  const CodePoint c = decode_character(text.data() + start);
  const std::uint8_t kind = classes_[c.value] & kNamed;
  if (kind & kSpace) {
    return blanks(text, begin, false);
  }
  return run(text, start + c.bytes, kNamed, kind);
}

std::size_t Scanner::next_llama3(std::string_view text, std::size_t begin) const {
  if (text[begin] == '\'') {
    if (const std::size_t length = contraction(text.substr(begin), true)) {
      return begin + length;
    }
  }
  const CodePoint c = decode_character(text.data() + begin);
  const std::uint8_t kind = classes_[c.value] & kNamed;
  const std::size_t after = begin + c.bytes;
  if (kind & kLetter) {
    return run(text, after, kLetter, kLetter);
  }
  if (kind & kNumber) {
    std::size_t end = after;
    for (int count = pattern_ == KnownPattern::kLlama3 ? 2 : 0; count > 0 && end < text.size(); --count) {
      const CodePoint next = decode_character(text.data() + end);
      if (!(classes_[next.value] & kNumber)) {
        break;
      }
      end += next.bytes;
    }
    return end;
  }
  std::uint8_t next_kind = kSpace;
  if (after < text.size()) {
    next_kind = classes_[decode_character(text.data() + after).value] & kNamed;
    if ((next_kind & kLetter) && !is_newline(text[begin])) {
      return run(text, after, kLetter, kLetter);
    }
  }
  if (kind == 0 || (text[begin] == ' ' && next_kind == 0)) {
    std::size_t end = run(text, after, kNamed, 0);
    while (end < text.size() && is_newline(text[end])) {
      ++end;
    }
    return end;
  }
  return blanks(text, begin, true);
}

}  // namespace hedgehog

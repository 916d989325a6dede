#include "hedgehog/checkpoint/json_cursor.h"

#include "hedgehog/base/error.h"

#include <utility>

namespace hedgehog {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void append_utf8(std::string& text, std::uint32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | (code >> 6));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | (code >> 12));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | (code >> 18));
    text += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

}  // namespace

std::size_t find_broken_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t n) { return i + n < text.size() ? static_cast<unsigned char>(text[i + n]) : 0U; };
    const unsigned first = byte(0);
    if (first < 0x80) {
      ++i;
      continue;
    }
    // The second byte's range shuts out overlong forms, surrogates and what lies beyond U+10FFFF.
    const std::size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                               : first >= 0xE0 && first <= 0xEF ? 3
                               : first >= 0xF0 && first <= 0xF4 ? 4
                                                                : 0;
    const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    bool good = length > 0 && byte(1) >= low && byte(1) <= high;
    for (std::size_t n = 2; n < length; ++n) {
      good = good && (byte(n) & 0xC0) == 0x80;
    }
    if (!good) {
      return i;
    }
    i += length;
  }
  return std::string_view::npos;
}

JsonCursor::JsonCursor(std::string_view text, std::string origin, std::size_t offset)
    : text_(text), origin_(std::move(origin)), offset_(offset) {
  if (const std::size_t broken = find_broken_utf8(text); broken != std::string_view::npos) {
    at_ = broken;
    fail_here("UTF-8");
  }
}

void JsonCursor::fail_here(std::string_view expected) const {
  if (at_ >= text_.size()) {
    fail("{}: JSON ends at byte {} where {} is expected", origin_, offset_ + text_.size(), expected);
  }
  fail("{}: JSON is broken at byte {}: expected {}, found byte 0x{:02x}", origin_, offset_ + at_, expected,
       static_cast<unsigned char>(text_[at_]));
}

void JsonCursor::skip_blanks() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
    ++at_;
  }
}

bool JsonCursor::accept(char symbol) {
  skip_blanks();
  if (at_ < text_.size() && text_[at_] == symbol) {
    ++at_;
    return true;
  }
  return false;
}

void JsonCursor::expect(char symbol) {
  if (!accept(symbol)) {
    fail_here(std::string("'") + symbol + "'");
  }
}

void JsonCursor::expect_end() {
  skip_blanks();
  if (at_ < text_.size()) {
    fail_here("the end");
  }
}

std::uint32_t JsonCursor::escaped_unit() {
  std::uint32_t unit = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) {
      fail_here("a hexadecimal digit");
    }
    unit = unit * 16 + static_cast<std::uint32_t>(digit);
  }
  return unit;
}

std::string JsonCursor::string() {
  // The length first, so that a long string is allocated once.
  JsonCursor scout = *this;
  scout.scan_string(nullptr);
  std::string value;
  value.reserve(scout.at_ - at_);
  scan_string(&value);
  return value;
}

void JsonCursor::scan_string(std::string* value) {
  expect('"');
  const auto append = [&](std::uint32_t code) {
    if (value != nullptr) {
      append_utf8(*value, code);
    }
  };
  for (;;) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    if (static_cast<unsigned char>(c) < 0x20) {
      fail_here("the end of a string");
    }
    ++at_;
    if (c == '"') {
      return;
    }
    if (c != '\\') {
      if (value != nullptr) {
        *value += c;
      }
      continue;
    }
    const char escape = at_ < text_.size() ? text_[at_] : '\0';
    static constexpr std::string_view kEscapes = "\"\\/bfnrt";
    if (const std::size_t known = kEscapes.find(escape); known != std::string_view::npos) {
      append(static_cast<unsigned char>("\"\\/\b\f\n\r\t"[known]));
      ++at_;
      continue;
    }
    if (escape != 'u') {
      fail_here("an escape");
    }
    ++at_;
    std::uint32_t code = escaped_unit();
    if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const std::uint32_t low = escaped_unit();
      code = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00) : 0xD800;
    }
    if (code >= 0xD800 && code < 0xE000) {
      fail_here("both halves of a surrogate pair before this");
    }
    append(code);
  }
}

std::uint64_t JsonCursor::unsigned_integer() {
  skip_blanks();
  const std::size_t begin = at_;
  std::uint64_t value = 0;
  for (; at_ < text_.size() && is_digit(text_[at_]); ++at_) {
    const auto digit = static_cast<std::uint64_t>(text_[at_] - '0');
    if (__builtin_mul_overflow(value, 10ULL, &value) || __builtin_add_overflow(value, digit, &value)) {
      fail_here("an integer below 2^64");
    }
  }
  const bool more = at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E');
  if (at_ == begin || more || (at_ - begin > 1 && text_[begin] == '0')) {
    fail_here("an integer without a sign");
  }
  return value;
}

bool JsonCursor::accept_null() {
  skip_blanks();
  if (text_.substr(at_, 4) != "null") {
    return false;
  }
  at_ += 4;
  return true;
}

void JsonCursor::skip_word(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) {
    fail_here("a value");
  }
  at_ += word.size();
}

void JsonCursor::skip_number() {
  const auto digits = [&] {
    if (at_ >= text_.size() || !is_digit(text_[at_])) {
      fail_here("a digit");
    }
    while (at_ < text_.size() && is_digit(text_[at_])) {
      ++at_;
    }
  };
  const auto next_is = [&](std::string_view set) { return at_ < text_.size() && set.find(text_[at_]) != set.npos; };
  at_ += next_is("-") ? 1 : 0;
  if (next_is("0")) {
    ++at_;
  } else {
    digits();
  }
  if (next_is(".")) {
    ++at_;
    digits();
  }
  if (next_is("eE")) {
    ++at_;
    at_ += next_is("+-") ? 1 : 0;
    digits();
  }
}

void JsonCursor::skip_value(int depth) {
  skip_blanks();
  const char first = at_ < text_.size() ? text_[at_] : '\0';
  if (first == '{' || first == '[') {
    if (depth > kDeepestJson) {
      fail_here(fmt::format("at most {} levels", kDeepestJson));
    }
    ++at_;
    const char close = first == '{' ? '}' : ']';
    if (accept(close)) {
      return;
    }
    do {
      if (first == '{') {
        scan_string(nullptr);
        expect(':');
      }
      skip_value(depth + 1);
    } while (accept(','));
    expect(close);
  } else if (first == '"') {
    scan_string(nullptr);
  } else if (first == 't' || first == 'f' || first == 'n') {
    skip_word(first == 't' ? "true" : first == 'f' ? "false" : "null");
  } else {
    skip_number();
  }
}

}  // namespace hedgehog

// Reads JSON (RFC 8259) piece by piece where its form is known, without building a tree: a hostile text costs no memory.
// Strict as serde_json is: UTF-8 only, no lone surrogates, at most kDeepestJson levels.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hedgehog {

inline constexpr int kDeepestJson = 128;

class JsonCursor {
 public:
  /// `origin` is what errors call the text; `offset` is where in the file it begins. Throws Error unless `text` is UTF-8.
  JsonCursor(std::string_view text, std::string origin, std::size_t offset = 0);

  /// Steps over `symbol` if it is the next one.
  bool accept(char symbol);
  void expect(char symbol);
  /// A string's value, escapes resolved.
  std::string string();
  /// An integer without sign, fraction or exponent, below 2^64.
  std::uint64_t unsigned_integer();
  /// Steps over "null" if it is next.
  bool accept_null();
  /// Steps over any value, checking it.
  void skip_value() { skip_value(1); }
  /// Throws unless only blanks are left.
  void expect_end();
  [[noreturn]] void fail_here(std::string_view expected) const;

 private:
  void skip_blanks();
  /// Steps over a string, appending its value to `value` unless that is null.
  void scan_string(std::string* value);
  void skip_value(int depth);
  void skip_number();
  void skip_word(std::string_view word);
  std::uint32_t escaped_unit();

  std::string_view text_;
  std::string origin_;
  std::size_t offset_;
  std::size_t at_ = 0;
};

/// The index of the first byte that is not part of well-formed UTF-8, or npos.
std::size_t find_broken_utf8(std::string_view text);

}  // namespace hedgehog

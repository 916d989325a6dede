// A regular expression of tokenizer.json, run by PCRE2 with the meaning that the `tokenizers` library's engine (Oniguruma)
// gives it: characters are code points, \s is White_Space, ^ and $ stand at line ends. \p{...} is as old as PCRE2's Unicode
// tables.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

struct Span {
  std::size_t begin, end;
};

/// Where a string that is not empty stands in `text`, left to right, not overlapping.
std::vector<Span> find_all(std::string_view text, std::string_view needle);

class Regex {
 public:
  /// Throws Error with the place of the mistake.
  explicit Regex(std::string_view pattern);

  /// All matches in valid UTF-8, left to right, not overlapping. An empty match right behind a match is left out.
  /// Throws Error where PCRE2's limits on work and stack are reached.
  std::vector<Span> find_all(std::string_view text) const;

 private:
  std::string pattern_;
  std::shared_ptr<void> code_;
};

}  // namespace hedgehog

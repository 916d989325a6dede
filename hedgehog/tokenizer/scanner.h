// The pre-tokenizations of GPT-2, Llama 3 and Qwen 2 as hand-written scanners: the same pieces as their regular expressions
// give, at several times the speed. tests/tokenizer/scanner_test.cc holds them against PCRE2.
#pragma once

#include "hedgehog/tokenizer/unicode.h"

#include <optional>
#include <string_view>

namespace hedgehog {

enum class KnownPattern { kGpt2, kLlama3, kQwen2 };

/// The regular expression of a known pattern, as it stands in tokenizer.json.
std::string_view known_pattern_regex(KnownPattern pattern);
std::optional<KnownPattern> find_known_pattern(std::string_view regex);

/// Cuts valid UTF-8 into the pieces that one of the known patterns matches; they cover the text without gaps.
class Scanner {
 public:
  explicit Scanner(KnownPattern pattern) : pattern_(pattern), classes_(CharacterClasses::get()) {}

  /// Calls emit(piece) for each piece in order.
  template <typename Emit>
  void split(std::string_view text, Emit&& emit) const {
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = pattern_ == KnownPattern::kGpt2 ? next_gpt2(text, begin) : next_llama3(text, begin);
      emit(text.substr(begin, end - begin));
      begin = end;
    }
  }

 private:
  std::size_t next_gpt2(std::string_view text, std::size_t begin) const;
  std::size_t next_llama3(std::string_view text, std::size_t begin) const;
  std::size_t run(std::string_view text, std::size_t position, std::uint8_t mask, std::uint8_t wanted) const;
  std::size_t blanks(std::string_view text, std::size_t begin, bool newlines_apart) const;

  KnownPattern pattern_;
  const CharacterClasses& classes_;
};

}  // namespace hedgehog

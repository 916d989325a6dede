// The ranges of code points behind CharacterClasses and BertCharacters, and lower case. The source is generated.
#pragma once

#include <cstdint>
#include <span>

namespace hedgehog {

struct CodePointRange {
  char32_t first, last;  // both included
};

/// first, first + step, ... last: each becomes lower case by adding `added`.
struct CaseRange {
  char32_t first, last;
  std::uint32_t step;
  std::int32_t added;
};

std::span<const CodePointRange> unicode_letters();      // \p{L} of the library's regular expressions
std::span<const CodePointRange> unicode_numbers();      // \p{N} of the same
std::span<const CodePointRange> unicode_numerics();     // what the Digits pre-tokenizer splits off
std::span<const CodePointRange> unicode_words();        // \w as `single_word` of an added token sees it
std::span<const CodePointRange> unicode_normalizing();  // may change, or change its neighbours, under NFC
// What BERT's normalizer removes, makes a blank, puts between blanks, strips as an accent:
std::span<const CodePointRange> unicode_removed();
std::span<const CodePointRange> unicode_blanks();
std::span<const CodePointRange> unicode_ideographs();
std::span<const CodePointRange> unicode_marks();
// What BERT's pre-tokenizer leaves out between words, and makes words of their own:
std::span<const CodePointRange> unicode_separators();
std::span<const CodePointRange> unicode_punctuation();
std::span<const CaseRange> unicode_lowercase();  // in order; U+0130 is not there: it becomes two characters

}  // namespace hedgehog

// The ranges of code points behind CharacterClasses. The source is generated.
#pragma once

#include <span>

namespace hedgehog {

struct CodePointRange {
  char32_t first, last;  // both included
};

std::span<const CodePointRange> unicode_letters();      // \p{L} of the library's regular expressions
std::span<const CodePointRange> unicode_numbers();      // \p{N} of the same
std::span<const CodePointRange> unicode_numerics();     // what the Digits pre-tokenizer splits off
std::span<const CodePointRange> unicode_words();        // \w as `single_word` of an added token sees it
std::span<const CodePointRange> unicode_normalizing();  // may change, or change its neighbours, under NFC

}  // namespace hedgehog

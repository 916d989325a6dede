// The Unicode normal forms as the `tokenizers` library gives them, whose tables are of an older Unicode.
#pragma once

#include <string>
#include <string_view>

namespace hedgehog {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// Of valid UTF-8. Characters that the library's tables don't have yet stay, and separate what stands around them. (For NFKC
/// and NFKD this holds for marks and canonical compositions only.)
std::string normal_form(std::string_view text, NormalForm form);

/// As normal_form(text, kNfc), at little cost for text that is in this form already: the result is `text` itself or lies in
/// `buffer`.
std::string_view nfc(std::string_view text, std::string& buffer);

}  // namespace hedgehog

// The stemmer that ROUGE is scored with: Porter's (1980), with the changes of NLTK's PorterStemmer in its default mode
// (NLTK_EXTENSIONS).
#pragma once

#include <string>
#include <string_view>

namespace hedgehog {

/// The stem of a lower-case ASCII word: "conditional" gives "condit". Other characters count as consonants.
std::string porter_stem(std::string_view word);

}  // namespace hedgehog

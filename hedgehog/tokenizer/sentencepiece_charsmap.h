// The compiled character map of a SentencePiece model: a trie of what is replaced (a double array as darts-clone makes it) and
// the replacements, each ended by a zero byte.
#pragma once

#include <string_view>

namespace hedgehog {

/// Throws Error, calling the file `name`, unless every look-up in the map stays inside it. The library checks none of this.
void check_character_map(std::string_view map, const char* name);

}  // namespace hedgehog

// IMDb reviews (Maas et al. 2011) as bytes: the task Text of Long Range Arena.
#pragma once

#include "hedgehog/data/byte_sequence.h"

#include <filesystem>
#include <vector>

namespace hedgehog {

/// Reads lines of {"label": 0 or 1, "text": …}, *.zst unpacked on the way. The symbols are the text's bytes, whole:
/// padded_batch cuts them (Long Range Arena: to 4,000 or 4,096). Throws Error with file and line for what is no such object, an
/// empty text, and for a file without reviews.
std::vector<ByteSequence> read_imdb(const std::filesystem::path& path);

}  // namespace hedgehog

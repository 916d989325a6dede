// AAN (Radev et al. 2013): does one paper cite the other? The task Retrieval of Long Range Arena, out of its
// new_aan_pairs.{train,eval,test}.tsv.
#pragma once

#include "hedgehog/data/byte_sequence.h"

#include <filesystem>
#include <vector>

namespace hedgehog {

/// Pair i is first[i] and second[i], both with the pair's label: 1 if they are linked.
struct PaperPairs {
  std::vector<ByteSequence> first, second;
};

/// Reads rows of label, id1, id2, text1, text2 (no header; the label as 0, 1, 0.0 or 1.0), *.zst unpacked on the way. At most
/// `longest` bytes of each text are kept, since the files are gigabytes and the benchmark uses the first 4,000. Throws Error
/// with file and line for an unknown label, a row that is cut, text that is not UTF-8, and for a file without pairs.
PaperPairs read_aan(const std::filesystem::path& path, std::size_t longest = 4096);

}  // namespace hedgehog

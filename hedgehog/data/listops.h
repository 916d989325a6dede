// ListOps (Nangia & Bowman 2018) as Long Range Arena has it: nested lists of digits under MIN, MAX, MED and SM (sum modulo 10),
// whose value is the class. Closing brackets are a token, the brackets that only show the tree's form are none.
#pragma once

#include "hedgehog/data/byte_sequence.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

/// The symbols: digits are themselves, then come the opened lists and the close.
enum ListOpsSymbol : std::uint8_t { kMinimum = 10, kMaximum, kMedian, kSumModulo10, kClose, kListOpsSymbols };

struct ListOpsConfig {
  int deepest = 10;                // levels; at the last one all is digits
  int most_arguments = 10;         // of a list, at least 2
  std::int64_t longer_than = 500;  // symbols, both ends excluded
  std::int64_t shorter_than = 2000;
  double list_probability = 0.25;  // of an argument above the deepest level
};

/// `count` different examples, a function of the arguments alone. The published procedure: each argument is a list with
/// list_probability, of 2 to most_arguments arguments and any of the four operators, else a digit, all evenly; trees of other
/// lengths are thrown away. Long Range Arena's 96,000, 2,000 and 2,000 are parts of one such row. Throws Error for a
/// configuration under which hardly any tree has a length that is asked for.
std::vector<ByteSequence> generate_listops(const ListOpsConfig& config, std::int64_t count, std::uint64_t seed);

/// The value, 0 to 9; the median of an even number of arguments is the mean of the middle two, rounded down. Throws Error
/// naming the symbol where the expression is broken.
std::int64_t evaluate_listops(std::span<const std::uint8_t> symbols);

/// "[MAX 4 [MIN 2 3 ] 0 ]", and back. Round brackets, which the published files have, are stepped over. Throws Error for
/// another word.
std::string listops_text(std::span<const std::uint8_t> symbols);
std::vector<std::uint8_t> parse_listops(std::string_view text);

/// Reads the published files: columns Source and Target. Throws Error with file and line for a broken expression and for a
/// target that is not its value.
std::vector<ByteSequence> read_listops(const std::filesystem::path& path);

}  // namespace hedgehog

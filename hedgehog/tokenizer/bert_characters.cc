#include "hedgehog/tokenizer/bert_characters.h"

#include "hedgehog/tokenizer/unicode_tables.h"

#include <algorithm>
#include <span>
#include <vector>

namespace hedgehog {
namespace {

std::vector<std::uint8_t> bert_classes() {
  std::vector<std::uint8_t> flat(0x110000, 0);
  const auto mark = [&flat](std::span<const CodePointRange> ranges, std::uint8_t bit) {
    for (const CodePointRange& range : ranges) {
      for (char32_t c = range.first; c <= range.last; ++c) {
        flat[c] |= bit;
      }
    }
  };
  mark(unicode_removed(), BertCharacters::kRemoved);
  mark(unicode_blanks(), BertCharacters::kBlank);
  mark(unicode_ideographs(), BertCharacters::kIdeograph);
  mark(unicode_marks(), BertCharacters::kMark);
  mark(unicode_separators(), BertCharacters::kSeparator);
  mark(unicode_punctuation(), BertCharacters::kPunctuation);
  return flat;
}

}  // namespace

BertCharacters::BertCharacters() : table_(bert_classes()) {}

const BertCharacters& BertCharacters::get() {
  static const BertCharacters classes;
  return classes;
}

void append_lowercase(std::string& text, char32_t c) {
  if (c == 0x130) {
    text += "i\u0307";
    return;
  }
  const std::span<const CaseRange> ranges = unicode_lowercase();
  const auto range = std::partition_point(ranges.begin(), ranges.end(), [c](const CaseRange& r) { return r.last < c; });
  const bool changes = range != ranges.end() && c >= range->first && (c - range->first) % range->step == 0;
  append_utf8(text, changes ? c + static_cast<char32_t>(range->added) : c);
}

}  // namespace hedgehog

// The hand-written scanners against their regular expressions run by PCRE2.
#include "hedgehog/tokenizer/scanner.h"

#include "hedgehog/tokenizer/regex.h"
#include "tests/tokenizer/fixtures.h"
#include "tests/tokenizer/mixed_text.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

constexpr KnownPattern kPatterns[] = {KnownPattern::kGpt2, KnownPattern::kLlama3, KnownPattern::kQwen2};

// The regular expressions' tables may be older or younger than ours: characters on which they differ are replaced.
class Alike {
 public:
  Alike() : same_(0x110000, false) {
    const CharacterClasses& classes = CharacterClasses::get();
    std::string all;
    std::vector<std::uint8_t> found(0x110000, 0);
    for (char32_t c = 0; c < 0x110000; ++c) {
      if (c < 0xD800 || c > 0xDFFF) {
        append_utf8(all, c);
      }
    }
    const std::pair<const char*, std::uint8_t> kinds[] = {
        {"\\p{L}", CharacterClasses::kLetter}, {"\\p{N}", CharacterClasses::kNumber}, {"\\s", CharacterClasses::kSpace}};
    for (const auto& [regex, kind] : kinds) {
      for (const Span& match : Regex(regex).find_all(all)) {
        found[decode_character(all.data() + match.begin).value] |= kind;
      }
    }
    constexpr std::uint8_t kNamed = CharacterClasses::kLetter | CharacterClasses::kNumber | CharacterClasses::kSpace;
    for (char32_t c = 0; c < 0x110000; ++c) {
      same_[c] = (c >= 0xD800 && c <= 0xDFFF) || found[c] == (classes[c] & kNamed);
    }
  }

  std::string only(std::string_view text) const {
    std::string result;
    for (std::size_t i = 0; i < text.size();) {
      const CodePoint c = decode_character(text.data() + i);
      append_utf8(result, same_[c.value] ? c.value : U'\u2603');
      i += c.bytes;
    }
    return result;
  }
  std::size_t differences() const { return static_cast<std::size_t>(std::count(same_.begin(), same_.end(), false)); }
  bool same(char32_t c) const { return same_[c]; }

 private:
  std::vector<bool> same_;
};

void expect_same_pieces(KnownPattern pattern, std::string_view text) {
  const std::vector<Span> expected = Regex(known_pattern_regex(pattern)).find_all(text);
  std::size_t piece = 0;
  std::size_t begin = 0;
  bool equal = true;
  const auto compare = [&](std::string_view found) {
    if (equal && (piece >= expected.size() || expected[piece].begin != begin || expected[piece].end != begin + found.size())) {
      equal = false;
      ADD_FAILURE() << known_pattern_regex(pattern) << ": piece " << piece << " '" << found << "' at byte " << begin;
    }
    ++piece;
    begin += found.size();
  };
  Scanner(pattern).split(text, compare);
  EXPECT_EQ(piece, expected.size());
  EXPECT_EQ(begin, text.size());
}

TEST(ScannerTest, SamePiecesAsRegexOnMixedText) {
  const Alike alike;
  EXPECT_LT(alike.differences(), 20000U);  // PCRE2 10.42 has Unicode 14
  EXPECT_TRUE(alike.same(0x180E));
  EXPECT_TRUE(alike.same(0x85));
  testing::MixedText text(testing::fixtures());
  for (std::uint64_t i = 5000; i < 5008; ++i) {
    std::string buffer;
    const std::string chunk = alike.only(replace_broken_utf8(text.chunk(i), buffer));
    for (const KnownPattern pattern : kPatterns) {
      expect_same_pieces(pattern, chunk);
    }
  }
}

// All texts of up to five characters out of those that the patterns tell apart.
TEST(ScannerTest, SamePiecesAsRegexOnAllShortTexts) {
  static constexpr std::string_view kCharacters[] = {"a", "1", " ", "\n", "\t", "'", "s", "-"};
  constexpr std::size_t kCount = std::size(kCharacters);
  for (std::size_t length = 1; length <= 5; ++length) {
    std::size_t texts = 1;
    for (std::size_t i = 0; i < length; ++i) {
      texts *= kCount;
    }
    for (std::size_t number = 0; number < texts; ++number) {
      std::string text;
      for (std::size_t i = 0, rest = number; i < length; ++i, rest /= kCount) {
        text += kCharacters[rest % kCount];
      }
      for (const KnownPattern pattern : kPatterns) {
        static const Regex kRegexes[] = {Regex(known_pattern_regex(KnownPattern::kGpt2)),
                                         Regex(known_pattern_regex(KnownPattern::kLlama3)),
                                         Regex(known_pattern_regex(KnownPattern::kQwen2))};
        const auto expected = kRegexes[static_cast<int>(pattern)].find_all(text);
        std::vector<std::size_t> ends;
        Scanner(pattern).split(text, [&](std::string_view piece) {
          ends.push_back(static_cast<std::size_t>(piece.data() - text.data()) + piece.size());
        });
        std::vector<std::size_t> expected_ends;
        for (const Span& span : expected) {
          expected_ends.push_back(span.end);
        }
        ASSERT_EQ(ends, expected_ends) << "'" << text << "' " << known_pattern_regex(pattern);
      }
    }
  }
}

TEST(ScannerTest, Contractions) {
  for (const KnownPattern pattern : kPatterns) {
    for (const char* text : {"it's", "IT'S", "we'LL'll", "I'Re'vE", "'", "''s", "x'\u017F y'\u017Fa", "'d'm't", "'l", "'r e"}) {
      expect_same_pieces(pattern, text);
    }
  }
}

}  // namespace
}  // namespace hedgehog

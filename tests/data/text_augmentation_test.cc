#include "hedgehog/data/text_augmentation.h"

#include "hedgehog/data/examples.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

namespace hedgehog {
namespace {

constexpr std::int64_t kCount = 4000;

std::vector<std::string> split(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

// Word w of text t is "t.w", so that a word says where it is from. Texts 2i and 2i + 1 are pair i.
std::vector<TextExample> pairs(int count, int words) {
  const auto text = [&](int number) {
    std::string result;
    for (int word = 0; word < words; ++word) result += std::to_string(number) + "." + std::to_string(word) + " ";
    result.pop_back();
    return result;
  };
  std::vector<TextExample> examples;
  for (int i = 0; i < count; ++i) examples.push_back({text(2 * i), text(2 * i + 1), 1.0});
  return examples;
}

// The text that most of the words are from.
int source(const std::string& text) {
  std::map<int, int> votes;
  for (const std::string& word : split(text)) ++votes[std::stoi(word)];
  return std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
}

TEST(TextAugmentation, PairsAreOfTheFourKindsInTheirShares) {
  const auto examples = pairs(50, 20);
  std::set<std::string> own;
  for (const TextExample& example : examples) own.insert({example.text, *example.second});
  double one_edited = 0, both_edited = 0, own_edit = 0, anew = 0;
  for (const TextExample& made : augmented(examples, kCount, 3)) {
    EXPECT_EQ(made.label, kNoLabel);
    const int first = source(made.text), second = source(made.second.value());
    const auto untouched = own.count(made.text) + own.count(*made.second);
    if (first == second) {
      ++own_edit;
      EXPECT_GE(untouched, 1u);
    } else if (first / 2 != second / 2) {
      ++anew;
      EXPECT_EQ(untouched, 2u);
    } else {
      EXPECT_TRUE(untouched == 2 || first + 1 == second) << "the first text stays first";
      (untouched == 0 ? both_edited : one_edited) += 1;
    }
  }
  // Two texts paired anew are one example's with a chance of 1/100; an edit with 1/10 of the words leaves 1 of 8 as it was.
  EXPECT_NEAR(one_edited / kCount, 0.35, 0.04);
  EXPECT_NEAR(both_edited / kCount, 0.15, 0.04);
  EXPECT_NEAR(own_edit / kCount, 0.25, 0.04);
  EXPECT_NEAR(anew / kCount, 0.25, 0.04);
}

TEST(TextAugmentation, AnEditExchangesLeavesOutAndTurns) {
  std::vector<TextExample> examples = pairs(50, 20);
  for (TextExample& example : examples) example.second = std::nullopt;
  double words = 0, kept = 0, strange = 0, turned = 0;
  for (const TextExample& made : augmented(examples, kCount, 4)) {
    EXPECT_EQ(made.second, std::nullopt);
    const int from = source(made.text);
    std::vector<int> places;
    for (const std::string& word : split(made.text)) {
      ++words;
      if (std::stoi(word) != from) {
        ++strange;
      } else {
        ++kept;
        places.push_back(std::stoi(word.substr(word.find('.') + 1)));
      }
    }
    turned += std::is_sorted(places.begin(), places.end()) ? 0 : 1;
  }
  // A share of (0.1 + 0.2 + 0.3 + 0.5) / 4 is touched; a word exchanged for one of its own text (1 in 50) counts as kept.
  const double all = 20.0 * kCount;
  EXPECT_NEAR(kept / all, 1 - 0.275 + 0.275 * 0.6 / 50, 0.01);
  EXPECT_NEAR(strange / all, 0.275 * 0.6 * 0.98, 0.01);
  EXPECT_NEAR(words / all, 1 - 0.275 * 0.4, 0.01);
  EXPECT_NEAR(turned / kCount, 0.2 * 0.95, 0.06) << "a turn at the first word turns nothing, some exchanges look like one";
}

TEST(TextAugmentation, IsTheSameForASeed) {
  const auto texts = [](std::uint64_t seed) {
    std::string all;
    for (const TextExample& made : augmented(pairs(5, 4), 50, seed)) all += made.text + '\t' + *made.second + '\n';
    return all;
  };
  EXPECT_EQ(texts(1), texts(1));
  EXPECT_NE(texts(1), texts(2));
}

TEST(TextAugmentation, TextsOfNoWordsStayAsTheyAre) {
  const std::vector<TextExample> blank = {{" ", {}, 0}, {"", {}, 1}};
  for (const TextExample& made : augmented(blank, 20, 1)) EXPECT_TRUE(made.text.empty() || made.text == " ");
  const std::vector<TextExample> one_word = {{"word", {}, 0}};
  for (const TextExample& made : augmented(one_word, 200, 1))
    EXPECT_EQ(made.text, "word") << "leaving all words out is no edit";
  EXPECT_TRUE(augmented(one_word, 0, 1).empty());
  EXPECT_NE(testing::error_of([] { augmented({}, 1, 1); }).find("no examples"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog

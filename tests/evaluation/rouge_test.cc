// Against rouge-score and NLTK (tests/fixtures/evaluation/make_rouge.py).
#include "hedgehog/evaluation/rouge.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/sha256.h"
#include "hedgehog/data/line_reader.h"
#include "hedgehog/data/samsum.h"
#include "hedgehog/evaluation/porter_stemmer.h"
#include "tests/support/data_file.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <set>
#include <span>
#include <sstream>
#include <utility>

namespace hedgehog {
namespace {

using testing::data_file;

const nlohmann::json& fixture() {
  static const nlohmann::json kFixture =
      nlohmann::json::parse(read_text_file(std::string(HEDGEHOG_SOURCE_DIR) + "/tests/fixtures/evaluation/rouge.json"));
  return kFixture;
}

TEST(PorterStemmer, EqualsNltks) {
  int words = 0;
  for (const auto& [root, stems] : fixture()["stems"].items()) {
    std::istringstream expected(stems.get<std::string>());
    for (const nlohmann::json& ending : fixture()["endings"]) {
      std::string stem;
      expected >> stem;
      ASSERT_EQ(porter_stem(root + ending.get<std::string>()), stem) << root << " + " << ending;
      ++words;
    }
  }
  EXPECT_GT(words, 10'000);
  for (const auto& [word, stem] : fixture()["irregular"].items()) EXPECT_EQ(porter_stem(word), stem.get<std::string>()) << word;
}

TEST(PorterStemmer, TakesAnyWord) {
  EXPECT_EQ(porter_stem(""), "");
  EXPECT_EQ(porter_stem("s"), "s");
  EXPECT_EQ(porter_stem("is"), "is");
  EXPECT_EQ(porter_stem(std::string(1 << 20, 'y')).size(), std::size_t{1} << 20);
}

TEST(Rouge, EqualsTheRougeScorePackage) {
  int pairs = 0;
  for (const nlohmann::json& pair : fixture()["pairs"]) {
    const Rouge scores = rouge(pair["target"].get<std::string>(), pair["prediction"].get<std::string>());
    const RougeScore* kinds[] = {&scores.one, &scores.two, &scores.longest};
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(kinds[i]->precision, pair["scores"][i][0].get<double>(), 1e-11) << pair["target"];
      EXPECT_NEAR(kinds[i]->recall, pair["scores"][i][1].get<double>(), 1e-11) << pair["target"];
      EXPECT_NEAR(kinds[i]->f, pair["scores"][i][2].get<double>(), 1e-11) << pair["target"];
    }
    ++pairs;
  }
  EXPECT_GT(pairs, 350);
}

TEST(Rouge, TokensAreLettersAndDigitsOfAscii) {
  using Tokens = std::vector<std::string>;
  EXPECT_EQ(rouge_tokens("The U.S. economies, don't: 3.5% naïve"),
            (Tokens{"the", "u", "s", "economi", "don", "t", "3", "5", "na", "ve"}));
  EXPECT_EQ(rouge_tokens("30\u212A of \u0130stanbul"), (Tokens{"30k", "of", "i", "stanbul"}));
  EXPECT_EQ(rouge_tokens("\xFF\xE2\x84"), Tokens{});  // bytes that are no UTF-8 separate too
}

TEST(Rouge, TheMeanIsOverPairs) {
  const Rouge mean = mean_rouge({"one two three", "four five"}, {"one two", "six"});
  EXPECT_DOUBLE_EQ(mean.one.precision, 0.5);
  EXPECT_DOUBLE_EQ(mean.one.recall, 1.0 / 3);
  EXPECT_DOUBLE_EQ(mean.one.f, 0.4);
  EXPECT_DOUBLE_EQ(mean.two.f, 1.0 / 3);  // precision 1, recall 1/2, and 0
  EXPECT_THROW(mean_rouge({"a"}, {}), Error);
  EXPECT_THROW(mean_rouge({}, {}), Error);
}

TEST(Rouge, SamsumsFirstLinesScoreWhatThePackageSays) {
  const auto file = data_file("samsum/test.jsonl.zst");
  HEDGEHOG_SKIP_WITHOUT(file);
  std::vector<std::string> summaries, lines;
  for (const Dialogue& each : read_samsum(file)) {
    summaries.push_back(each.summary);
    lines.push_back(each.dialogue.substr(0, each.dialogue.find('\n')));
  }
  const nlohmann::json& expected = fixture()["data"];
  EXPECT_EQ(std::ssize(lines), expected["samsum_test_count"].get<std::int64_t>());
  const Rouge mean = mean_rouge(summaries, lines);
  EXPECT_NEAR(mean.one.f, expected["samsum_test_f"][0].get<double>(), 1e-9);
  EXPECT_NEAR(mean.two.f, expected["samsum_test_f"][1].get<double>(), 1e-9);
  EXPECT_NEAR(mean.longest.f, expected["samsum_test_f"][2].get<double>(), 1e-9);
}

TEST(PorterStemmer, StemsOfABooksWordsAreNltks) {
  const auto file = data_file("books/moby_dick.txt.zst");
  HEDGEHOG_SKIP_WITHOUT(file);
  std::set<std::string> words;
  LineReader reader(file);
  for (std::string_view line; reader.next(line);) {
    std::string word;
    for (const char c : std::string(line) + "\n") {
      const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      if ((lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9')) {
        word += lower;
      } else if (!word.empty()) {
        words.insert(std::exchange(word, ""));
      }
    }
  }
  std::string stems;
  for (const std::string& word : words) stems += (stems.empty() ? "" : "\n") + porter_stem(word);
  Sha256 hash;
  hash.update(std::as_bytes(std::span(stems)));
  EXPECT_EQ(std::ssize(words), fixture()["data"]["moby_dick_words"].get<std::int64_t>());
  EXPECT_EQ(hash.hexadecimal(), fixture()["data"]["moby_dick_stems_sha256"].get<std::string>());
}

}  // namespace
}  // namespace hedgehog

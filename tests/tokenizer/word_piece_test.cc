// WordPiece with what BERT puts around it: ids, types, pairs, truncation and decoded text equal to those of the `tokenizers`
// library. The fixtures are made by tests/fixtures/tokenizer/make_word_piece.py.
#include "hedgehog/tokenizer/word_piece.h"

#include "hedgehog/tokenizer/normalizer.h"
#include "hedgehog/tokenizer/tokenizer.h"
#include "hedgehog/tokenizer/truncation.h"
#include "tests/support/temporary_directory.h"
#include "tests/tokenizer/comparison.h"
#include "tests/tokenizer/fixtures.h"
#include "tests/tokenizer/mixed_text.h"
#include "tests/tokenizer/round_trip.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using nlohmann::json;
using testing::error_of;
using testing::fingerprint_of;
using testing::MixedText;
using Ids = std::vector<std::int32_t>;

// vocab.txt of a tokenizer.json.
std::string lines_of(const json& description) {
  std::vector<std::string> tokens(description["model"]["vocab"].size());
  for (const auto& [token, id] : description["model"]["vocab"].items()) {
    tokens.at(id.get<std::size_t>()) = token;
  }
  return fmt::format("{}\n", fmt::join(tokens, "\n"));
}

TokenizerSource source_of_lines(std::string lines, json config = json::object()) {
  TokenizerSource source;
  source.word_pieces = std::move(lines);
  source.tokenizer_config = std::move(config);
  return source;
}

void expect_encoding(const Encoding& found, const json& ids, const json& types, const std::string& where) {
  EXPECT_EQ(found.ids, ids.get<Ids>()) << where;
  EXPECT_EQ(found.types, types.get<Ids>()) << where;
}

void expect_case(const Tokenizer& tokenizer, const json& fixture, const json& entry) {
  const std::string name = entry["name"];
  for (std::size_t i = 0; i < fixture["texts"].size(); ++i) {
    const auto where = name + ": " + fixture["texts"][i].dump();
    const json& run = entry["runs"][i];
    const std::string text = fixture["texts"][i];
    EXPECT_EQ(tokenizer.encode(text), run["ids"].get<Ids>()) << where;
    const Encoding encoding = tokenizer.encode_text(text);
    EXPECT_EQ(tokenizer.encode(text, true), encoding.ids) << where;
    expect_encoding(encoding, run["with_special"], run["types"], where);
    EXPECT_EQ(tokenizer.decode(encoding.ids), run["decoded"].get<std::string>()) << where;
    EXPECT_EQ(tokenizer.decode(encoding.ids, true), run["skipped"].get<std::string>()) << where;
  }
  const json& limits = fixture["limits"];
  for (std::size_t i = 0; i < fixture["pairs"].size(); ++i) {
    const auto where = name + ": " + fixture["pairs"][i].dump();
    const std::string first = fixture["pairs"][i][0], second = fixture["pairs"][i][1];
    const json& pair = entry["pairs"][i];
    expect_encoding(tokenizer.encode_pair(first, second), pair["ids"], pair["types"], where);
    for (std::size_t j = 0; j < limits.size(); ++j) {
      expect_encoding(tokenizer.encode_pair(first, second, limits[j]), pair["cut"][j][0], pair["cut"][j][1],
                      where + " cut to " + limits[j].dump());
    }
  }
  for (std::size_t j = 0; j < limits.size(); ++j) {
    expect_encoding(tokenizer.encode_text("a b c d e f g h i j k", limits[j]), entry["cut"][j][0], entry["cut"][j][1],
                    name + " cut to " + limits[j].dump());
  }
}

TEST(WordPieceTest, EqualsLibraryInEveryOption) {
  const json base = testing::read_fixture("bert_like.json"), fixture = testing::read_fixture("word_piece_cases.json");
  for (const json& entry : fixture["cases"]) {
    expect_case(*make_tokenizer(testing::source_of(testing::patched(base, entry["patch"]))), fixture, entry);
  }
}

TEST(WordPieceTest, EqualsLibraryOnMixedText) {
  const auto tokenizer = make_tokenizer(testing::source_of(testing::read_fixture("bert_like.json")));
  const json expected = testing::read_fixture("hashes.json")["bert_like"];
  ASSERT_GE(expected["ids"].size() * MixedText::kChunkBytes, 5'000'000U);
  MixedText text(testing::fixtures());
  for (std::size_t i = 0; i < expected["ids"].size(); ++i) {
    const Ids ids = tokenizer->encode(text.chunk(i));
    ASSERT_EQ(fingerprint_of(ids), expected["ids"][i]) << "chunk " << i;
    ASSERT_EQ(fingerprint_of(tokenizer->decode(ids)), expected["decoded"][i]) << "chunk " << i;
  }
}

TEST(WordPieceTest, PairsAreCutAsTheLibraryDoes) {
  const auto tokenizer = make_tokenizer(testing::source_of(testing::read_fixture("bert_like.json")));
  const auto repeated = [](std::string_view text, int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += text;
    return result;
  };
  std::vector<std::int64_t> items;
  for (int first = 0; first < 13; ++first) {
    for (int second = 0; second < 13; ++second) {
      for (int limit = 3; limit < 31; ++limit) {
        const Encoding found = tokenizer->encode_pair(repeated("a ", first), repeated("b ", second), limit);
        items.push_back(std::ssize(found.ids));
        items.insert(items.end(), found.ids.begin(), found.ids.end());
        items.insert(items.end(), found.types.begin(), found.types.end());
      }
    }
  }
  EXPECT_EQ(fingerprint_of(items), testing::read_fixture("word_piece_cases.json")["truncations"]);
  EXPECT_EQ(longest_first(INT64_MAX / 4, 3, 10), std::pair(std::int64_t{7}, std::int64_t{3}));
  EXPECT_NE(error_of([&] { tokenizer->encode_pair("a", "b", 2); }).find("3 special tokens"), std::string::npos);
  EXPECT_NE(error_of([&] { tokenizer->encode_text("a", 1); }).find("2 special tokens"), std::string::npos);
  EXPECT_NE(error_of([&] { tokenizer->encode_text("a", -1); }).find("-1"), std::string::npos);
}

// Every code point, alone and before and behind accents.
TEST(WordPieceTest, NormalizerEqualsLibraryOnEveryCharacter) {
  const json fixture = testing::read_fixture("bert_normalizer.json");
  for (const auto& [name, entry] : fixture.items()) {
    const Normalizer normalizer(entry["options"]);
    std::string buffer;
    for (std::size_t block = 0; block < entry["blocks"].size(); ++block) {
      std::string text;
      for (auto c = static_cast<char32_t>(block * 0x1000); c < (block + 1) * 0x1000; ++c) {
        if (c < 0xD800 || c > 0xDFFF) {
          text += "a";
          append_utf8(text, c);
          text += " b\u0323";
          append_utf8(text, c);
          text += "\u0301";
        }
      }
      EXPECT_EQ(fingerprint_of(normalizer.apply(text, buffer)), entry["blocks"][block]) << name << ", block " << block;
    }
  }
}

TEST(WordPieceTest, VocabularyFileGivesTheSame) {
  const json base = testing::read_fixture("bert_like.json"), fixture = testing::read_fixture("word_piece_cases.json");
  const std::pair<const char*, json> configs[] = {
      {"uncased", json::object()},
      {"uncased", {{"do_lower_case", true}, {"strip_accents", nullptr}, {"tokenizer_class", "BertTokenizer"}}},
      {"cased", {{"do_lower_case", false}}},
      {"cased_without_accents", {{"do_lower_case", false}, {"strip_accents", true}}},
      {"lower_case_with_accents", {{"strip_accents", false}}},
      {"ideographs_in_words", {{"tokenize_chinese_chars", false}, {"cls_token", {{"content", "[CLS]"}}}}},
  };
  for (const auto& [name, config] : configs) {
    const auto tokenizer = make_tokenizer(source_of_lines(lines_of(base), config));
    for (const json& entry : fixture["cases"]) {
      if (entry["name"] == name) {
        expect_case(*tokenizer, fixture, entry);
      }
    }
    EXPECT_EQ(tokenizer->vocabulary_size(), static_cast<std::int64_t>(base["model"]["vocab"].size()));
  }
  std::string windows = lines_of(base);
  for (std::size_t at = 0; (at = windows.find('\n', at)) != std::string::npos; at += 2) {
    windows.insert(at, "\r");
  }
  const auto expected = make_tokenizer(testing::source_of(base));
  EXPECT_EQ(make_tokenizer(source_of_lines(windows))->encode("Hello world"), expected->encode("Hello world"));
  windows.resize(windows.size() - 2);  // no newline at the end
  EXPECT_EQ(make_tokenizer(source_of_lines(windows))->vocabulary_size(), expected->vocabulary_size());
}

TEST(WordPieceTest, TokensOfTheConfigurationAreAdded) {
  const json base = testing::read_fixture("bert_like.json");
  const auto size = static_cast<std::int32_t>(base["model"]["vocab"].size());
  json config = {{"added_tokens_decoder",
                  {{std::to_string(size + 1), {{"content", "<two>"}, {"special", true}, {"normalized", false}}},
                   {std::to_string(size), {{"content", "<one>"}, {"special", false}, {"normalized", false}}},
                   {"2", {{"content", "[CLS]"}, {"special", true}, {"normalized", false}}}}},
                 {"pad_token", "<filler>"}};
  const auto tokenizer = make_tokenizer(source_of_lines(lines_of(base), config));
  EXPECT_EQ(tokenizer->encode("<one><two><filler>"), (Ids{size, size + 1, size + 2}));
  EXPECT_EQ(tokenizer->vocabulary_size(), size + 3);
  EXPECT_EQ(tokenizer->decode(Ids{size, size + 1}, true), "<one>");
  config["added_tokens_decoder"].erase(std::to_string(size));
  EXPECT_NE(error_of([&] { make_tokenizer(source_of_lines(lines_of(base), config)); }).find("'<two>'"), std::string::npos);
}

TEST(WordPieceTest, DamagedVocabulariesAreErrors) {
  const std::string good = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n";
  EXPECT_EQ(make_tokenizer(source_of_lines(good))->encode("ab aa b", true), (Ids{2, 1, 5, 7, 6, 3}));
  const auto expect_error = [](const std::string& lines, json config, std::string_view part) {
    const std::string message = error_of([&] { make_tokenizer(source_of_lines(lines, std::move(config))); });
    EXPECT_NE(message.find(part), std::string::npos) << message << "\nexpected: " << part;
  };
  expect_error(good + "b\n", {}, "vocab.txt: line 9 is the same as line 7, 'b'");
  expect_error(good + "\xFF\n", {}, "vocab.txt: line 9 is not UTF-8");
  expect_error("", {}, "vocab.txt: is empty");
  expect_error("a\nb\n", {}, "'[UNK]'");
  expect_error("[UNK]\n[CLS]\n", {}, "'[SEP]'");
  expect_error(good, {{"unk_token", "<unk>"}}, "'<unk>', which tokenizer_config.json calls unk_token, is missing");
  expect_error(good, {{"cls_token", nullptr}}, "cls_token");
  expect_error(good, {{"do_lower_case", "yes"}}, "do_lower_case");
  expect_error(good, {{"tokenizer_class", "BertJapaneseTokenizer"}}, "BertJapaneseTokenizer");
  expect_error(good, {{"added_tokens_decoder", {{"x", {{"content", "a"}}}}}}, "'x' is no id");
  expect_error(good, {{"added_tokens_decoder", {{"8", "a"}}}}, "8 has no 'content'");
  expect_error(good, {{"added_tokens_decoder", {1}}}, "added_tokens_decoder");
  json no_unknown = testing::read_fixture("bert_like.json");
  no_unknown["model"]["unk_token"] = "nowhere";
  EXPECT_NE(error_of([&] { make_tokenizer(testing::source_of(no_unknown)); }).find("'nowhere'"), std::string::npos);
  no_unknown["model"].erase("unk_token");
  EXPECT_NE(error_of([&] { make_tokenizer(testing::source_of(no_unknown)); }).find("'unk_token' is missing"),
            std::string::npos);
}

TEST(WordPieceTest, BrokenAndExtremeTexts) {
  const auto tokenizer = make_tokenizer(testing::source_of(testing::read_fixture("bert_like.json")));
  EXPECT_EQ(tokenizer->encode("he\xE2\x82llo\xFF"), tokenizer->encode("he\uFFFDllo\uFFFD"));
  EXPECT_EQ(tokenizer->encode(std::string_view("a\0b", 3)), tokenizer->encode("ab"));
  const std::int32_t unknown = tokenizer->token_to_id("[UNK]").value();
  EXPECT_EQ(tokenizer->encode(std::string(1 << 22, 'x')), Ids{unknown});
  std::string accents = "a";
  for (int i = 0; i < 100'000; ++i) {
    accents += "\u0301";
  }
  EXPECT_EQ(tokenizer->encode(accents), tokenizer->encode("a"));
  // A word may be as long as a file says: the longest token bounds the work.
  json description = testing::read_fixture("bert_like.json");
  description["model"]["max_input_chars_per_word"] = 1ULL << 60;
  const auto patient = make_tokenizer(testing::source_of(description));
  const std::string word(1 << 20, 'a');
  EXPECT_EQ(patient->decode(patient->encode(word)), word);
  // What is shown token by token is what is decoded at once.
  const Ids ids = tokenizer->encode("Unbelievable, isn't it? The naive 日本 cat.");
  std::string shown;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    shown += tokenizer->decode_next(i == 0 ? std::nullopt : std::optional(ids[i - 1]), ids[i]);
  }
  EXPECT_EQ(shown, tokenizer->decode(ids));
}

TEST(WordPieceTest, WrittenAndReadAgain) {
  const json base = testing::read_fixture("bert_like.json");
  testing::expect_round_trip(source_of_lines(lines_of(base), {{"tokenizer_class", "BertTokenizer"}, {"do_lower_case", false}}),
                             "word_pieces");
  testing::expect_round_trip(testing::source_of(base), "bert_json");
  const testing::TemporaryDirectory folder;
  write_tokenizer(source_of_lines(lines_of(base), {{"do_lower_case", false}}), folder.path());
  EXPECT_EQ(read_text_file(folder / "vocab.txt"), lines_of(base));
  EXPECT_FALSE(std::filesystem::exists(folder / "tokenizer.json"));
  const json config = json::parse(read_text_file(folder / "tokenizer_config.json"));
  EXPECT_EQ(config, json({{"do_lower_case", false}}));
  write_tokenizer(testing::source_of(base), folder.path());
  EXPECT_EQ(json::parse(read_text_file(folder / "tokenizer.json")), base);
}

}  // namespace
}  // namespace hedgehog

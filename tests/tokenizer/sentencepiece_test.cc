// SentencePiece tokenizers in their three forms: ids and decoded text of tokenizer.model equal to those of transformers'
// LlamaTokenizer, of tokenizer.json to those of the `tokenizers` library, and of GGUF metadata to those of tokenizer.model. The
// fixtures are made by tests/fixtures/tokenizer/make_sentencepiece.py.
#include "hedgehog/tokenizer/sentencepiece.h"

#include "hedgehog/checkpoint/gguf.h"
#include "hedgehog/checkpoint/gguf_translation.h"
#include "hedgehog/tokenizer/sentencepiece_tokenizer.h"
#include "hedgehog/tokenizer/tokenizer.h"
#include "tests/support/temporary_directory.h"
#include "tests/tokenizer/comparison.h"
#include "tests/tokenizer/fixtures.h"
#include "tests/tokenizer/mixed_text.h"
#include "tests/tokenizer/round_trip.h"

#include <gtest/gtest.h>

#include <thread>

namespace hedgehog {
namespace {

using nlohmann::json;
using testing::error_of;
using testing::fingerprint_of;
using testing::MixedText;
using testing::repaired;
using Ids = std::vector<std::int32_t>;

TokenizerSource source_of_model(const std::string& name, json config = json::object()) {
  TokenizerSource source;
  source.sentencepiece_model = read_text_file(testing::fixtures() / name);
  source.tokenizer_config = std::move(config);
  return source;
}

void expect_run(const Tokenizer& tokenizer, const std::string& text, const json& run, const std::string& where) {
  EXPECT_EQ(tokenizer.encode(text), run["ids"].get<Ids>()) << where;
  const Ids ids = tokenizer.encode(text, true);
  EXPECT_EQ(ids, run["with_special"].get<Ids>()) << where;
  EXPECT_EQ(tokenizer.encode_text(text).ids, ids) << where;
  EXPECT_EQ(repaired(tokenizer.decode(ids)), run["decoded"].get<std::string>()) << where;
  EXPECT_EQ(repaired(tokenizer.decode(ids, true)), run["skipped"].get<std::string>()) << where;
}

TEST(SentencePieceTest, ModelsEqualTransformers) {
  const json fixture = testing::read_fixture("sentencepiece_cases.json");
  for (const json& entry : fixture["models"]) {
    const auto tokenizer = make_tokenizer(source_of_model(entry["model"], entry["config"]));
    const auto name = entry["model"].get<std::string>() + ", " + entry["name"].get<std::string>();
    for (std::size_t i = 0; i < fixture["texts"].size(); ++i) {
      expect_run(*tokenizer, fixture["texts"][i], entry["runs"][i], name + ": " + fixture["texts"][i].dump());
    }
    EXPECT_EQ(tokenizer->encode_pair("first text", "second").ids, entry["pair"].get<Ids>()) << name;
    EXPECT_EQ(tokenizer->vocabulary_size(), entry["size"]) << name;
  }
}

TEST(SentencePieceTest, TokenizerJsonEqualsLibrary) {
  const json fixture = testing::read_fixture("sentencepiece_cases.json");
  for (const json& entry : fixture["json"]["cases"]) {
    const auto tokenizer = make_tokenizer(testing::source_of(testing::patched(fixture["json"]["base"], entry["patch"])));
    for (std::size_t i = 0; i < fixture["texts"].size(); ++i) {
      expect_run(*tokenizer, fixture["texts"][i], entry["runs"][i],
                 entry["name"].get<std::string>() + ": " + fixture["texts"][i].dump());
    }
  }
}

TEST(SentencePieceTest, UnigramEqualsLibrary) {
  const json expected = testing::read_fixture("sentencepiece_cases.json")["library"];
  const auto tokenizer = make_tokenizer(source_of_model("unigram.model"));
  for (std::size_t i = 0; i < expected["texts"].size(); ++i) {
    const std::string text = expected["texts"][i];
    EXPECT_EQ(tokenizer->encode(text), expected["ids"][i].get<Ids>()) << expected["texts"][i];
  }
  // Stretches between added tokens are texts of their own.
  Ids both = tokenizer->encode(" one  two");
  const Ids rest = tokenizer->encode("three");
  both.push_back(tokenizer->token_to_id("<sep>").value());
  both.insert(both.end(), rest.begin(), rest.end());
  EXPECT_EQ(tokenizer->encode(" one  two<sep>three"), both);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(" one  two\u3000THREE")), "one two THREE");
}

void expect_equal_on_mixed_text(const Tokenizer& tokenizer, const std::string& name) {
  const json expected = testing::read_fixture("hashes.json")[name];
  ASSERT_GE(expected["ids"].size() * MixedText::kChunkBytes, 5'000'000U);
  MixedText text(testing::fixtures());
  for (std::size_t i = 0; i < expected["ids"].size(); ++i) {
    const Ids ids = tokenizer.encode(text.chunk(i));
    ASSERT_EQ(fingerprint_of(ids), expected["ids"][i]) << name << ", chunk " << i;
    ASSERT_EQ(fingerprint_of(repaired(tokenizer.decode(ids))), expected["decoded"][i]) << name << ", chunk " << i;
  }
}

TEST(SentencePieceTest, EqualsTransformersOnMixedText) {
  expect_equal_on_mixed_text(*make_tokenizer(source_of_model("bpe.model")), "bpe.model");
  expect_equal_on_mixed_text(*make_tokenizer(source_of_model("bpe.model", {{"legacy", true}})), "bpe.model, legacy");
  expect_equal_on_mixed_text(*make_tokenizer(source_of_model("crossing.model")), "crossing.model");
  const json base = testing::read_fixture("sentencepiece_cases.json")["json"]["base"];
  expect_equal_on_mixed_text(*make_tokenizer(testing::source_of(base)), "bpe.model");
}

TokenizerSource gguf_source() {
  return translate_gguf_tokenizer(GgufFile(testing::fixtures() / "bpe.gguf"));
}

TEST(SentencePieceTest, GgufEqualsTheModelItWasMadeOf) {
  const TokenizerSource model = source_of_model("bpe.model");
  TokenizerSource gguf = gguf_source();
  const auto expected = make_tokenizer(model), found = make_tokenizer(gguf);
  EXPECT_EQ(found->vocabulary_size(), expected->vocabulary_size());
  EXPECT_EQ(found->begin_token(), 1);
  EXPECT_EQ(found->end_tokens(), Ids{2});
  MixedText text(testing::fixtures());
  for (std::uint64_t i = 100; i < 110; ++i) {
    const std::string chunk = text.chunk(i);
    ASSERT_EQ(found->encode(chunk, true), expected->encode(chunk, true)) << "chunk " << i;
  }
  gguf.tokenizer_config["add_bos_token"] = false;
  gguf.tokenizer_config["add_prefix_space"] = false;
  EXPECT_EQ(make_tokenizer(gguf)->encode("Hello", true),
            make_tokenizer(source_of_model("bpe.model", {{"add_prefix_space", false}}))->encode("Hello"));
  const auto expect_error = [&](auto damage, std::string_view part) {
    TokenizerSource damaged = gguf;
    damage(damaged);
    const std::string message = error_of([&] { make_tokenizer(damaged); });
    EXPECT_NE(message.find(part), std::string::npos) << message << "\nexpected: " << part;
  };
  expect_error([](TokenizerSource& s) { s.gguf_scores.pop_back(); }, "scores");
  expect_error([](TokenizerSource& s) { s.gguf_token_types.clear(); }, "token types");
  expect_error([](TokenizerSource& s) { s.gguf_token_types[9] = 0; }, "GGUF: token 9 is of unknown type 0");
  expect_error([](TokenizerSource& s) { s.gguf_tokens[300] = s.gguf_tokens[301]; }, "GGUF: piece 301 is the same");
  expect_error([](TokenizerSource& s) { s.gguf_token_types[0] = 1; }, "GGUF: expected one piece of type unknown, found 0");
  expect_error([](TokenizerSource& s) { s.gguf_token_types[10] = 1; }, "GGUF: expected 256 pieces of type byte, found 255");
}

// What the documentation of LlamaTokenizer says holds for flags that are not there.
TEST(SentencePieceTest, FlagsHaveDefaults) {
  const auto tokenizer = make_tokenizer(source_of_model("bpe.model"));
  const auto said = make_tokenizer(source_of_model(
      "bpe.model", {{"add_bos_token", true}, {"add_eos_token", false}, {"legacy", false}, {"add_prefix_space", true}}));
  for (const char* text : {"Hello", " Hello", "<s> a</s>b"}) {
    EXPECT_EQ(tokenizer->encode(text, true), said->encode(text, true));
  }
  EXPECT_EQ(tokenizer->encode("", true), Ids{1});
  EXPECT_NE(error_of([] {
              make_tokenizer(source_of_model("bpe.model", {{"legacy", 1}}));
            }).find("'legacy'"),
            std::string::npos);
}

TEST(SentencePieceTest, WrittenAndReadAgain) {
  const TokenizerSource model = source_of_model("bpe.model", {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"legacy", true}});
  testing::expect_round_trip(model, "sentencepiece");
  testing::expect_round_trip(gguf_source(), "sentencepiece_gguf");
  const testing::TemporaryDirectory folder;
  write_tokenizer(model, folder.path());
  EXPECT_EQ(read_text_file(folder / "tokenizer.model"), *model.sentencepiece_model);
  EXPECT_FALSE(std::filesystem::exists(folder / "tokenizer.json"));
}

TEST(SentencePieceTest, BrokenAndExtremeTexts) {
  const auto tokenizer = make_tokenizer(source_of_model("bpe.model"));
  EXPECT_EQ(tokenizer->encode("he\xE2\x82llo\xFF"), tokenizer->encode("he\uFFFDllo\uFFFD"));
  for (const std::string& text :
       {std::string(1 << 20, 'x'), std::string(1 << 20, ' '), std::string(1 << 16, '\0'), std::string(1 << 20, '\n')}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text.starts_with(' ') ? text.substr(1) : text);
  }
  // Bytes of a character that is cut, or are none.
  const std::int32_t first = tokenizer->token_to_id("<0xF0>").value();
  EXPECT_EQ(tokenizer->decode(Ids{first}), "\xF0");
  // What is shown token by token is what is decoded at once.
  const Ids ids = tokenizer->encode("The  hedgehog \U0001F994 sleeps\n");
  std::string shown;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    shown += tokenizer->decode_next(i == 0 ? std::nullopt : std::optional(ids[i - 1]), ids[i]);
  }
  EXPECT_EQ(shown, "The  hedgehog \U0001F994 sleeps\n");
  EXPECT_EQ(tokenizer->decode(ids), shown);
}

TEST(SentencePieceTest, ThreadsGiveTheSameIds) {
  const auto tokenizer = make_tokenizer(source_of_model("bpe.model")),
             whole = make_tokenizer(source_of_model("crossing.model"));
  MixedText text(testing::fixtures());
  const std::string chunk = text.chunk(0);
  const Ids expected = tokenizer->encode(chunk), expected_whole = whole->encode(chunk);
  std::vector<std::thread> threads;
  std::array<bool, 4> same{};
  for (std::size_t t = 0; t < same.size(); ++t) {
    threads.emplace_back([&, t] { same[t] = tokenizer->encode(chunk) == expected && whole->encode(chunk) == expected_whole; });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(same, (std::array{true, true, true, true}));
}

}  // namespace
}  // namespace hedgehog

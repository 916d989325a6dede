// Damaged tokenizer.model and vocab.txt files: an error that says where, or a tokenizer that works; never a crash or a hang.
#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/protobuf_wire.h"
#include "hedgehog/tokenizer/sentencepiece_charsmap.h"
#include "hedgehog/tokenizer/sentencepiece_model.h"
#include "hedgehog/tokenizer/tokenizer.h"
#include "tests/support/mutator.h"
#include "tests/support/temporary_directory.h"
#include "tests/tokenizer/fixtures.h"

#include <gtest/gtest.h>

#include <limits>

namespace hedgehog {
namespace {

using nlohmann::json;
using testing::error_of;

TokenizerSource source_of_bytes(std::string model) {
  TokenizerSource source;
  source.sentencepiece_model = std::move(model);
  source.tokenizer_config = json::object();
  return source;
}

constexpr std::string_view kText = "it's <s> a  b\n123 \xE2\x82 \u00e9\u0301 \uFF21\uFB01 \u3000 <sep>\u2581x \U0001F642";

void expect_survives(const TokenizerSource& source, const std::string& what, int& loaded) {
  try {
    const auto tokenizer = make_tokenizer(source);
    ++loaded;
    const std::vector<std::int32_t> ids = tokenizer->encode(kText, true);
    tokenizer->decode(ids);
    tokenizer->decode(std::vector<std::int32_t>{-1, 0, 1 << 30, 5}, true);
  } catch (const Error&) {
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
}

void expect_survives_mutations(const std::string& original, std::uint64_t seed, int rounds) {
  testing::Mutator mutator(seed);
  int loaded = 0;
  for (int i = 0; i < rounds; ++i) {
    const std::string damaged = mutator.mutate(original);
    expect_survives(source_of_bytes(damaged), mutator.what(), loaded);
  }
  EXPECT_GT(loaded, rounds / 50);  // else the mutations are too rough to test anything
}

TEST(SentencePieceFuzzTest, DamagedBpeModels) {
  expect_survives_mutations(read_text_file(testing::fixtures() / "bpe.model"), 20261128, 1500);
}

TEST(SentencePieceFuzzTest, DamagedUnigramModels) {
  expect_survives_mutations(read_text_file(testing::fixtures() / "unigram.model"), 7, 1500);
}

// Damage where the library would trust what it reads: the map's trie and its replacements.
TEST(SentencePieceFuzzTest, DamagedCharacterMaps) {
  const SentencePieceModel original = read_sentencepiece_model(read_text_file(testing::fixtures() / "unigram.model"));
  ASSERT_FALSE(original.character_map.empty());
  testing::Mutator mutator(11);
  Random random{5};
  int loaded = 0;
  for (int i = 0; i < 3000; ++i) {
    SentencePieceModel model = original;
    if (i % 2 == 0) {
      model.character_map = mutator.mutate(original.character_map);
    } else {  // single bits of units, which keep it plausible
      for (auto flips = 1 + random.below(4); flips > 0; --flips) {
        model.character_map[random.below(model.character_map.size())] ^= static_cast<char>(1 << random.below(8));
      }
    }
    expect_survives(source_of_bytes(write_sentencepiece_model(model)), mutator.what(), loaded);
  }
  EXPECT_GT(loaded, 100);
}

TEST(SentencePieceFuzzTest, EveryTruncationIsAnError) {
  const std::string model = read_text_file(testing::fixtures() / "unigram.model");
  for (std::size_t size = 0; size < model.size(); size += 1 + size / 64) {
    EXPECT_NE(error_of([&] { make_tokenizer(source_of_bytes(model.substr(0, size))); }).find("tokenizer.model"),
              std::string::npos)
        << size;
  }
}

SentencePieceModel small_model() {
  SentencePieceModel model;
  model.pieces = {{"<unk>", 0, SentencePieceModel::kUnknown}, {"<s>", 0, SentencePieceModel::kControl},
                  {"</s>", 0, SentencePieceModel::kControl},  {"\u2581", -1, SentencePieceModel::kNormal},
                  {"a", -2, SentencePieceModel::kNormal},     {"\u2581a", -3, SentencePieceModel::kNormal}};
  model.is_bpe = true;
  model.removes_extra_blanks = false;
  return model;
}

TEST(SentencePieceFuzzTest, ErrorsSayWhere) {
  const auto expect_error = [](auto damage, std::string_view part) {
    SentencePieceModel model = small_model();
    damage(model);
    const std::string message = error_of([&] { make_tokenizer(source_of_bytes(write_sentencepiece_model(model))); });
    EXPECT_NE(message.find(part), std::string::npos) << message << "\nexpected: " << part;
  };
  using Model = SentencePieceModel;
  EXPECT_NO_THROW(make_tokenizer(source_of_bytes(write_sentencepiece_model(small_model()))));
  expect_error([](Model& m) { m.pieces.clear(); }, "tokenizer.model: is no SentencePiece model");
  expect_error([](Model& m) { m.pieces[4].text = ""; }, "piece 4 is empty");
  expect_error([](Model& m) { m.pieces[4].text = "\xFF"; }, "piece 4 is not UTF-8");
  expect_error([](Model& m) { m.pieces[4].text = std::string(1, '\0'); }, "piece 4 is not UTF-8 or holds a zero byte");
  expect_error([](Model& m) { m.pieces[5].text = "a"; }, "piece 5 is the same as an earlier one, 'a'");
  expect_error([](Model& m) { m.pieces[5].text = std::string(2000, 'a'); }, "piece 5 has 2000 bytes");
  expect_error([](Model& m) { m.pieces[5].score = std::numeric_limits<float>::quiet_NaN(); }, "piece 5");
  expect_error([](Model& m) { m.pieces[5].score = -std::numeric_limits<float>::infinity(); }, "piece 5");
  expect_error([](Model& m) { m.pieces[0].type = Model::kNormal; }, "expected one piece of type unknown, found 0");
  expect_error([](Model& m) { m.pieces[4].type = Model::kUnknown; }, "expected one piece of type unknown, found 2");
  expect_error([](Model& m) { m.pieces[4].type = static_cast<Model::Type>(7); }, "piece 4 is of unknown type 7");
  expect_error([](Model& m) { m.pieces[4].type = Model::kByte; }, "piece 4 should be a byte");
  expect_error([](Model& m) { m.byte_fallback = true; }, "expected 256 pieces of type byte, found 0");
  expect_error([](Model& m) { m.character_map = "abcd"; }, "the character map has 4 bytes");
  expect_error([](Model& m) { m.character_map = std::string(64, '\x7F'); }, "character map");
  expect_error(
      [](Model& m) {
        for (int i = 1; i < 70; ++i) {
          m.pieces.push_back({std::string(i, 'z'), 0, Model::kUserDefined});
        }
      },
      "more than 64 user-defined pieces");
  // Fields of another kind, and of a wrong length.
  WireWriter words, wrong;
  words.number(3, 3);  // a word model
  wrong.number(1, 5);
  const std::string model = write_sentencepiece_model(small_model());
  WireWriter trainer;
  trainer.bytes(2, words.message());
  EXPECT_NE(error_of([&] { make_tokenizer(source_of_bytes(model + trainer.message())); }).find("model type 3"),
            std::string::npos);
  EXPECT_NE(
      error_of([&] { make_tokenizer(source_of_bytes(model + wrong.message())); }).find("field 1 is of type 0, expected 2"),
      std::string::npos);
  EXPECT_NE(error_of([&] { make_tokenizer(source_of_bytes(model + "\x0A\x7F")); }).find("should have 127 bytes, 0 are left"),
            std::string::npos);
  EXPECT_NE(error_of([&] { make_tokenizer(source_of_bytes(model + "\x0B")); }).find("unknown type 3"), std::string::npos);
  EXPECT_NE(error_of([&] { make_tokenizer(source_of_bytes(model + std::string(12, '\xFF'))); }).find("64 bits"),
            std::string::npos);
  // Llama 3's file of this name is of another kind.
  EXPECT_NE(error_of([&] { make_tokenizer(source_of_bytes("IQ== 0\nIg== 1\n")); }).find("tokenizer.model"), std::string::npos);
}

TEST(SentencePieceFuzzTest, ClassesThatMoveIdsAreRefused) {
  TokenizerSource source = source_of_bytes(write_sentencepiece_model(small_model()));
  for (const char* name : {"T5Tokenizer", "XLMRobertaTokenizer", "CamembertTokenizer"}) {
    source.tokenizer_config["tokenizer_class"] = name;
    EXPECT_NE(error_of([&] { make_tokenizer(source); }).find(name), std::string::npos);
  }
  source.tokenizer_config["tokenizer_class"] = "LlamaTokenizer";
  EXPECT_NO_THROW(make_tokenizer(source));
}

TEST(SentencePieceFuzzTest, DamagedVocabularyLines) {
  const std::string original = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\nit\n'\n\u00e9\n1\n##23\n";
  testing::Mutator mutator(3);
  int loaded = 0;
  for (int i = 0; i < 1500; ++i) {
    TokenizerSource source;
    source.word_pieces = mutator.mutate(original);
    source.tokenizer_config = json::object();
    expect_survives(source, mutator.what(), loaded);
  }
  EXPECT_GT(loaded, 100);
}

}  // namespace
}  // namespace hedgehog

// Tokenizers out of GGUF metadata: equal to the tokenizer.json that they were made of, and written back as one.
#include "hedgehog/tokenizer/gguf_tokenizer.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/tokenizer.h"
#include "tests/tokenizer/fixtures.h"
#include "tests/tokenizer/mixed_text.h"
#include "tests/tokenizer/round_trip.h"

#include <gtest/gtest.h>

#include <set>

namespace hedgehog {
namespace {

using nlohmann::json;

// The fields that a converter would write for a tokenizer.json.
TokenizerSource gguf_of(const json& description, const std::string& pre_tokenizer) {
  TokenizerSource source;
  source.tokenizer_config = json::object();
  source.gguf_model = "gpt2";
  source.gguf_pretokenizer = pre_tokenizer;
  const json& vocabulary = description["model"]["vocab"];
  source.gguf_tokens.resize(vocabulary.size() + description["added_tokens"].size());
  source.gguf_token_types.assign(source.gguf_tokens.size(), 1);
  for (const auto& [text, id] : vocabulary.items()) {
    source.gguf_tokens[id.get<std::size_t>()] = text;
  }
  for (const json& token : description["added_tokens"]) {
    const auto id = token["id"].get<std::size_t>();
    source.gguf_tokens[id] = token["content"];
    source.gguf_token_types[id] = token["special"] ? 3 : 4;
  }
  for (const json& merge : description["model"]["merges"]) {
    source.gguf_merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return source;
}

TEST(GgufTokenizerTest, EqualsTheTokenizerJsonItWasMadeOf) {
  for (const auto& [name, pre] : {std::pair{"llama3_like", "llama-bpe"}, std::pair{"qwen2_like", "qwen2"}}) {
    const json description = testing::read_fixture(std::string(name) + ".json");
    TokenizerSource source = gguf_of(description, pre);
    if (std::string(pre) == "llama-bpe") {
      source.bos = description["added_tokens"][0]["id"].get<std::int64_t>();
    }
    const auto expected = make_tokenizer(testing::source_of(description));
    const auto found = make_tokenizer(source);
    EXPECT_EQ(found->vocabulary_size(), expected->vocabulary_size());
    testing::MixedText text(testing::fixtures());
    for (std::uint64_t i = 100; i < 104; ++i) {
      const std::string chunk = text.chunk(i);
      ASSERT_EQ(found->encode(chunk, true), expected->encode(chunk, true)) << name;
    }
  }
}

// Only characters of the word lists, as make_tokenizers.py does: PCRE2 may not know the newest ones.
std::string ordinary(std::string_view text) {
  const std::string words = read_text_file(testing::fixtures() / "mixed_words.txt");
  std::set<char32_t> allowed;
  for (std::size_t i = 0; i < words.size();) {
    const CodePoint c = decode_character(words.data() + i);
    allowed.insert(c.value);
    i += c.bytes;
  }
  std::string buffer, result;
  text = replace_broken_utf8(text, buffer);
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_character(text.data() + i);
    if (allowed.contains(c.value)) {
      result.append(text.substr(i, c.bytes));
    }
    i += c.bytes;
  }
  return result;
}

TEST(GgufTokenizerTest, OtherPreTokenizersEqualTheLibrary) {
  const json description = testing::read_fixture("llama3_like.json");
  const json hashes = testing::read_fixture("hashes.json")["pre_tokenizers"];
  for (const auto& [name, expected] : hashes.items()) {
    const auto tokenizer = make_tokenizer(gguf_of(description, name));
    testing::MixedText text(testing::fixtures());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      testing::Fingerprint fingerprint;
      for (const std::int32_t id : tokenizer->encode(ordinary(text.chunk(i)))) {
        fingerprint.add(static_cast<std::uint64_t>(id));
      }
      EXPECT_EQ(fmt::format("{:016x}", fingerprint.value), expected[i]) << name << ", chunk " << i;
    }
  }
}

TEST(GgufTokenizerTest, WrittenAndReadAgain) {
  const json llama3 = testing::read_fixture("llama3_like.json");
  for (const char* name : {"llama-bpe", "qwen2", "smollm", "gpt-2", "default"}) {
    TokenizerSource source = gguf_of(llama3, name);
    source.bos = llama3["added_tokens"][0]["id"].get<std::int64_t>();
    source.eos = llama3["added_tokens"][1]["id"].get<std::int64_t>();
    source.chat_template = "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}";
    testing::expect_round_trip(source, name);
  }
  TokenizerSource own = testing::source_of(testing::read_fixture("qwen2_like.json"));
  own.tokenizer_config = {{"eos_token", "<|im_end|>"}};
  testing::expect_round_trip(own, "own");
}

TEST(GgufTokenizerTest, SmolLm2EqualsLibrary) {
  const auto path = testing::smollm2();
  if (!path) {
    GTEST_SKIP() << "skipped: no data: SmolLM2-135M-Instruct.Q4_1.gguf is not in .deps/models or HEDGEHOG_MODELS";
  }
  const TokenizerSource source = open_checkpoint(*path).tokenizer;
  const auto tokenizer = make_tokenizer(source);
  EXPECT_EQ(tokenizer->vocabulary_size(), 49152);
  EXPECT_EQ(tokenizer->begin_token(), std::optional<std::int32_t>(1));
  EXPECT_EQ(tokenizer->end_tokens(), std::vector<std::int32_t>{2});
  const json expected = testing::read_fixture("hashes.json")["smollm2"];
  testing::MixedText text(testing::fixtures());
  std::string buffer;
  for (std::size_t i = 0; i < expected["ids"].size(); ++i) {
    const std::string chunk = text.chunk(i);
    const auto ids = tokenizer->encode(chunk);
    testing::Fingerprint fingerprint;
    for (const std::int32_t id : ids) {
      fingerprint.add(static_cast<std::uint64_t>(id));
    }
    ASSERT_EQ(fmt::format("{:016x}", fingerprint.value), expected["ids"][i]) << "chunk " << i;
    // Its vocabulary lacks some bytes, so that the decoded text is not the chunk.
    testing::Fingerprint decoded;
    const std::string bytes = tokenizer->decode(ids);
    for (const char byte : replace_broken_utf8(bytes, buffer)) {
      decoded.add(static_cast<unsigned char>(byte));
    }
    ASSERT_EQ(fmt::format("{:016x}", decoded.value), expected["decoded"][i]) << "chunk " << i;
  }
  testing::expect_round_trip(source, "smollm2");
}

TEST(GgufTokenizerTest, DamagedFieldsAreErrors) {
  const json description = testing::read_fixture("cases.json")["base"];
  const TokenizerSource good = gguf_of(description, "gpt-2");
  EXPECT_NO_THROW(make_tokenizer(good));
  const auto expect_error = [&](auto damage, std::string_view part) {
    TokenizerSource source = good;
    damage(source);
    try {
      make_tokenizer(source);
      ADD_FAILURE() << "no error: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
    }
  };
  expect_error([](TokenizerSource& s) { s.gguf_pretokenizer = "viking"; }, "viking");
  expect_error([](TokenizerSource& s) { s.gguf_model = "bert"; }, "bert");
  expect_error([](TokenizerSource& s) { s.gguf_model = "llama"; }, "scores");
  expect_error([](TokenizerSource& s) { s.gguf_tokens[5] = s.gguf_tokens[6]; }, "same");
  expect_error([](TokenizerSource& s) { s.gguf_tokens[300] = "\xFF"; }, "UTF-8");
  expect_error([](TokenizerSource& s) { s.gguf_merges[3] = "\xFF a"; }, "UTF-8");
  expect_error([](TokenizerSource& s) { s.gguf_merges[3] = "nonsense"; }, "nonsense");
  expect_error([](TokenizerSource& s) { s.gguf_token_types.pop_back(); }, "types");
  expect_error([](TokenizerSource& s) { s.gguf_tokens.clear(); }, "no tokenizer");
  expect_error(
      [](TokenizerSource& s) {
        s.gguf_pretokenizer = "llama-bpe";
        s.bos = 1 << 20;
      },
      "bos");
}

}  // namespace
}  // namespace hedgehog

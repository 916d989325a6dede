// Ids and decoded bytes equal to those of the `tokenizers` library: on 5 MiB of mixed text, on very long words, and in every
// option. The fixtures are made by tests/fixtures/tokenizer/make_tokenizers.py.
#include "hedgehog/tokenizer/tokenizer.h"

#include "hedgehog/base/error.h"
#include "tests/tokenizer/comparison.h"
#include "tests/tokenizer/fixtures.h"
#include "tests/tokenizer/mixed_text.h"

#include <gtest/gtest.h>

#include <thread>

namespace hedgehog {
namespace {

using nlohmann::json;
using testing::fingerprint_of;
using testing::MixedText;
using testing::repaired;

std::unique_ptr<Tokenizer> tokenizer_named(const std::string& name) {
  return make_tokenizer(testing::source_of(testing::read_fixture(name + ".json")));
}

// The text with one part of it at a time, in both languages: an error in the generator is seen here, not in the tokenizer.
TEST(MixedTextTest, IsThatOfPython) {
  const json expected = testing::read_fixture("hashes.json");
  MixedText text(testing::fixtures());
  for (std::size_t i = 0; i < expected["text"].size(); ++i) {
    ASSERT_EQ(fingerprint_of(text.chunk(i)), expected["text"][i]) << "chunk " << i;
  }
}

void expect_equal_on_mixed_text(const Tokenizer& tokenizer, const std::string& name) {
  const json expected = testing::read_fixture("hashes.json")[name];
  ASSERT_GE(expected["ids"].size() * MixedText::kChunkBytes, 5'000'000U);
  MixedText text(testing::fixtures());
  std::string buffer;
  for (std::size_t i = 0; i < expected["ids"].size(); ++i) {
    const std::string chunk = text.chunk(i);
    const std::vector<std::int32_t> ids = tokenizer.encode(chunk);
    ASSERT_EQ(fingerprint_of(ids), expected["ids"][i]) << name << ", chunk " << i;
    const std::string decoded = tokenizer.decode(ids);
    ASSERT_EQ(fingerprint_of(repaired(decoded)), expected["decoded"][i]) << name << ", chunk " << i;
    if (name != "qwen2_like") {  // NFC changes the text
      ASSERT_EQ(decoded, replace_broken_utf8(chunk, buffer)) << name << ", chunk " << i;
    }
  }
}

void expect_equal_on_long_words(const Tokenizer& tokenizer, const std::string& name) {
  const json expected = testing::read_fixture("hashes.json")[name]["long_words"];
  for (const auto& [kind, word] : expected.items()) {
    std::string text;
    for (int i = 0; i < word["count"].get<int>(); ++i) {
      text += word["unit"].get<std::string>();
    }
    EXPECT_EQ(fingerprint_of(tokenizer.encode(text)), word["ids"]) << name << ", " << kind;
  }
}

TEST(TokenizerTest, EqualsLibraryLlama3Like) {
  const auto tokenizer = tokenizer_named("llama3_like");
  expect_equal_on_mixed_text(*tokenizer, "llama3_like");
  expect_equal_on_long_words(*tokenizer, "llama3_like");
  const std::int32_t bos = tokenizer->token_to_id("<|begin_of_text|>").value();
  EXPECT_EQ(tokenizer->encode("", true), std::vector<std::int32_t>{bos});
}

TEST(TokenizerTest, EqualsLibraryQwen2Like) {
  const auto tokenizer = tokenizer_named("qwen2_like");
  expect_equal_on_mixed_text(*tokenizer, "qwen2_like");
  expect_equal_on_long_words(*tokenizer, "qwen2_like");
}

TEST(TokenizerTest, EqualsLibraryGpt2) {
  const auto file = testing::data_folder() / "tokenizers/gpt2/tokenizer.json";
  if (!std::filesystem::exists(file)) {
    GTEST_SKIP() << "skipped: no data: " << file;
  }
  const auto tokenizer = make_tokenizer(testing::source_of(json::parse(read_text_file(file))));
  EXPECT_EQ(tokenizer->vocabulary_size(), 50257);
  expect_equal_on_mixed_text(*tokenizer, "gpt2");
  expect_equal_on_long_words(*tokenizer, "gpt2");
}

TEST(TokenizerTest, EqualsLibraryInEveryOption) {
  const json fixture = testing::read_fixture("cases.json");
  for (const json& entry : fixture["cases"]) {
    const auto tokenizer = make_tokenizer(testing::source_of(testing::patched(fixture["base"], entry["patch"])));
    for (std::size_t i = 0; i < fixture["texts"].size(); ++i) {
      const auto where = entry["name"].get<std::string>() + ": " + fixture["texts"][i].dump();
      const json& run = entry["runs"][i];
      const std::string text = fixture["texts"][i];
      const auto ids = tokenizer->encode(text);
      EXPECT_EQ(ids, run["ids"].get<std::vector<std::int32_t>>()) << where;
      EXPECT_EQ(tokenizer->encode(text, true), run["with_special"].get<std::vector<std::int32_t>>()) << where;
      EXPECT_EQ(repaired(tokenizer->decode(ids)), run["decoded"].get<std::string>()) << where;
      EXPECT_EQ(repaired(tokenizer->decode(ids, true)), run["skipped"].get<std::string>()) << where;
    }
  }
}

TEST(TokenizerTest, ThreadsGiveTheSameIds) {
  const auto tokenizer = tokenizer_named("llama3_like");
  const json expected = testing::read_fixture("hashes.json")["llama3_like"];
  std::vector<std::string> found(16);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      MixedText text(testing::fixtures());
      for (std::size_t i = static_cast<std::size_t>(t); i < found.size(); i += 4) {
        found[i] = fingerprint_of(tokenizer->encode(text.chunk(i)));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i], expected["ids"][i]);
  }
}

// Two tokenizers share a thread's cache of words, and one that is gone leaves its words behind.
TEST(TokenizerTest, TokenizersDoNotMixInTheCache) {
  const auto one = tokenizer_named("llama3_like");
  const auto expected = one->encode("hello the world attention");
  for (int i = 0; i < 3; ++i) {
    const auto other = tokenizer_named("qwen2_like");
    EXPECT_EQ(other->decode(other->encode("hello the world attention")), "hello the world attention");
    EXPECT_NE(other->encode("hello the world attention"), expected);
    EXPECT_EQ(one->encode("hello the world attention"), expected);
  }
}

TEST(TokenizerTest, BrokenUtf8IsReplacedAsInPython) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"a\x80z", "a\uFFFDz"},
      {"\xE2\x82", "\uFFFD"},
      {"\xE2\x82z", "\uFFFDz"},
      {"\xE2\x28\xA1", "\uFFFD(\uFFFD"},
      {"\xF0\x9F\x98", "\uFFFD"},
      {"\xF0\x9F\x98\xF0\x9F\x98\x80", "\uFFFD\U0001F600"},
      {"\xC0\x80", "\uFFFD\uFFFD"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xFF", "\uFFFD"},
      {"", ""},
  };
  for (const auto& [broken, expected] : cases) {
    std::string buffer;
    EXPECT_EQ(replace_broken_utf8(broken, buffer), expected);
  }
}

TEST(TokenizerTest, BeginAndEndTokens) {
  TokenizerSource source = testing::source_of(testing::read_fixture("qwen2_like.json"));
  source.tokenizer_config = {{"eos_token", {{"content", "<|endoftext|>"}}}, {"bos_token", nullptr}};
  source.chat_template =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  const auto tokenizer = make_tokenizer(source);
  EXPECT_FALSE(tokenizer->begin_token());
  const std::vector<std::int32_t> expected = {tokenizer->token_to_id("<|endoftext|>").value(),
                                              tokenizer->token_to_id("<|im_end|>").value()};
  EXPECT_EQ(tokenizer->end_tokens(), expected);
  source.eos = expected[1];
  source.bos = 3;
  const auto other = make_tokenizer(source);
  EXPECT_EQ(other->end_tokens(), std::vector<std::int32_t>{expected[1]});
  EXPECT_EQ(other->begin_token(), 3);
  // A template gets the names of tokenizer_config.json, as transformers gives them, whatever the ids of config.json are.
  for (const auto& each : {tokenizer.get(), other.get()}) {
    EXPECT_EQ(each->begin_text(), "");
    EXPECT_EQ(each->end_text(), "<|endoftext|>");
  }
  source.tokenizer_config["bos_token"] = "<|im_start|>";
  const auto named = make_tokenizer(source);
  EXPECT_EQ(named->begin_token(), named->token_to_id("<|im_start|>"));
  EXPECT_EQ(named->begin_text(), "<|im_start|>");
  source.tokenizer_config = json::object();
  const auto by_id = make_tokenizer(source);
  EXPECT_EQ(by_id->begin_text(), by_id->decode(std::vector<std::int32_t>{3}));
  EXPECT_EQ(by_id->end_text(), "<|im_end|>");
}

void expect_error(json description, std::string_view part) {
  try {
    make_tokenizer(testing::source_of(std::move(description)));
    ADD_FAILURE() << "no error: " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
  }
}

TEST(TokenizerTest, UnknownKindsAreNamed) {
  const json base = testing::read_fixture("cases.json")["base"];
  const auto with = [&](const char* part, json value) {
    json description = base;
    description[part] = std::move(value);
    return description;
  };
  expect_error(with("model", {{"type", "Unigram"}}), "Unigram");
  expect_error(with("model", {{"type", "WordPiece"}}), "ByteLevel");
  expect_error(with("normalizer", {{"type", "Precompiled"}}), "Precompiled");
  expect_error(with("pre_tokenizer", {{"type", "UnicodeScripts"}}), "UnicodeScripts");
  expect_error(with("decoder", {{"type", "CTC"}}), "CTC");
  expect_error(with("decoder", {{"type", "Sequence"}, {"decoders", {{{"type", "Fuse"}}, {{"type", "ByteLevel"}}}}}),
               "ByteLevel");
  expect_error(with("post_processor", {{"type", "Other"}}), "Other");
  json bad_merge = base;
  bad_merge["model"]["merges"].push_back({"a", "not in the vocabulary"});
  expect_error(bad_merge, "not in the vocabulary");
  json far_id = base;
  far_id["model"]["vocab"]["far"] = 2'000'000'000;
  expect_error(far_id, "2000000000");
  json fallback = base;
  fallback["model"]["byte_fallback"] = true;
  fallback["model"]["vocab"].erase("a");
  expect_error(fallback, "byte_fallback");
}

}  // namespace
}  // namespace hedgehog

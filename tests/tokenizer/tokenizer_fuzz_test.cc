// Damaged tokenizer.json files: an error or a tokenizer that works, never a crash or a hang.
#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/tokenizer.h"
#include "tests/support/mutator.h"
#include "tests/tokenizer/fixtures.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using nlohmann::json;

void expect_survives(json description, const std::string& what, int& loaded) {
  try {
    const auto tokenizer = make_tokenizer(testing::source_of(std::move(description)));
    ++loaded;
    const std::vector<std::int32_t> ids = tokenizer->encode("it's <s> a  b\n123 \xE2\x82 \u00e9\u0301", true);
    tokenizer->decode(ids);
    tokenizer->decode(std::vector<std::int32_t>{-1, 0, 1 << 30, 5}, true);
    tokenizer->encode_text("a b", 1);
    tokenizer->encode_pair("a b", "c", 9);
  } catch (const Error&) {
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
}

// A small file in which every part is there, so that mutations hit the parts and not only the vocabulary.
json small_description(const json& fixture) {
  json description = fixture["base"];
  description["added_tokens"] = json::parse(R"json([
    {"id": 500, "content": "<s>", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false, "special": true},
    {"id": 501, "content": "</s>", "single_word": true, "lstrip": false, "rstrip": true, "normalized": true, "special": false}])json");
  description["normalizer"] = json::parse(R"json({"type": "Sequence", "normalizers": [{"type": "NFC"},
    {"type": "Replace", "pattern": {"Regex": "x+"}, "content": "y"}]})json");
  description["pre_tokenizer"] = json::parse(R"json({"type": "Sequence", "pretokenizers": [
    {"type": "Digits", "individual_digits": true},
    {"type": "Split", "pattern": {"Regex": "[a-z]+|\\s+(?!\\S)"
}
, "behavior" : "MergedWithPrevious", "invert" : false
},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]
})json");
  description["post_processor"] = json::parse(R"json({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [500], "tokens": ["<s>"]}}})json");
  return description;
}

// The same for WordPiece, with what BERT has around it.
json small_bert() {
  return json::parse(R"json({"added_tokens": [
    {"id": 0, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
      "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
      "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]}}},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
      "vocab": {"[CLS]": 0, "[UNK]": 1, "i": 2, "##t": 3, "s": 4, "a": 5, "1": 6, "##23": 7, "e": 8}}})json");
}

// And for SentencePiece's BPE as tokenizer.json has it.
json small_llama() {
  return json::parse(R"json({"added_tokens": [
    {"id": 0, "content": "<s>", "single_word": false, "lstrip": true, "rstrip": false, "normalized": true, "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": true},
    "post_processor": null,
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
      "vocab": {"<s>": 0, "<unk>": 1, "\u2581": 2, "i": 3, "t": 4, "it": 5, "\u2581it": 6, "<0xC3>": 7, "<0xA9>": 8},
      "merges": [["i", "t"], ["\u2581", "it"]]}})json");
}

TEST(TokenizerFuzzTest, DamagedBytes) {
  testing::Mutator mutator(20240601);
  for (const json& description : {small_description(testing::read_fixture("cases.json")), small_bert(), small_llama()}) {
    const std::string original = description.dump();
    int loaded = 0;
    for (int i = 0; i < 1500; ++i) {
      // Parsing is the checkpoint reader's business; what it lets through comes here.
      json damaged = json::parse(mutator.mutate(original), nullptr, false);
      if (!damaged.is_discarded()) {
        expect_survives(std::move(damaged), mutator.what(), loaded);
      }
    }
    EXPECT_GT(loaded, 20);  // else the mutations are too rough to test anything
  }
}

// Damage that leaves JSON whole: a value somewhere in the tree becomes another value.
TEST(TokenizerFuzzTest, DamagedValues) {
  Random random{7};
  for (const json& original : {small_description(testing::read_fixture("cases.json")), small_bert(), small_llama()}) {
    const json values[] = {nullptr,
                           true,
                           -1,
                           0,
                           0.5,
                           18446744073709551615ULL,
                           2147483647,
                           "",
                           "ByteLevel",
                           "Metaspace",
                           "Sequence",
                           "(",
                           "(a+)+$",
                           json::array(),
                           json::object(),
                           json::array({1, "x"}),
                           original["pre_tokenizer"],
                           original["decoder"],
                           std::string(5000, 'a'),
                           "\u0000"};
    int loaded = 0;
    for (int i = 0; i < 1500; ++i) {
      json description = original;
      json* node = &description;
      std::string path;
      while (node->is_structured() && !node->empty() && (path.empty() || random.below(4) != 0)) {
        auto child = node->begin();
        std::advance(child, static_cast<std::ptrdiff_t>(random.below(node->size())));
        path += node->is_object() ? "/" + child.key() : "/*";
        node = &*child;
      }
      if (random.below(6) == 0 && node->is_structured()) {
        node->clear();
      } else {
        *node = values[random.below(std::size(values))];
      }
      expect_survives(std::move(description), path, loaded);
    }
    EXPECT_GT(loaded, 100);
  }
}

TEST(TokenizerFuzzTest, DeepNesting) {
  json nested = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  for (int i = 0; i < 1000; ++i) {
    nested = {{"type", "Sequence"}, {"pretokenizers", json::array({std::move(nested)})}};
  }
  json description = testing::read_fixture("cases.json")["base"];
  description["pre_tokenizer"] = std::move(nested);
  EXPECT_THROW(make_tokenizer(testing::source_of(std::move(description))), Error);
}

// A regular expression that backtracks without end meets PCRE2's limit.
TEST(TokenizerFuzzTest, RunawayRegex) {
  json description = testing::read_fixture("cases.json")["base"];
  description["pre_tokenizer"] = json::parse(R"json({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false},
    {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})json");
  const auto tokenizer = make_tokenizer(testing::source_of(std::move(description)));
  EXPECT_THROW(tokenizer->encode(std::string(64, 'a') + "b"), Error);
}

}  // namespace
}  // namespace hedgehog

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

TEST(TokenizerFuzzTest, DamagedBytes) {
  const std::string original = small_description(testing::read_fixture("cases.json")).dump();
  testing::Mutator mutator(20240601);
  int loaded = 0;
  for (int i = 0; i < 1500; ++i) {
    // Parsing is the checkpoint reader's business; what it lets through comes here.
    json description = json::parse(mutator.mutate(original), nullptr, false);
    if (!description.is_discarded()) {
      expect_survives(std::move(description), mutator.what(), loaded);
    }
  }
  EXPECT_GT(loaded, 20);  // else the mutations are too rough to test anything
}

// Damage that leaves JSON whole: a value somewhere in the tree becomes another value.
TEST(TokenizerFuzzTest, DamagedValues) {
  const json original = small_description(testing::read_fixture("cases.json"));
  const json values[] = {nullptr,
                         true,
                         -1,
                         0,
                         0.5,
                         18446744073709551615ULL,
                         2147483647,
                         "",
                         "ByteLevel",
                         "Sequence",
                         "(",
                         "(a+)+$",
                         json::array(),
                         json::object(),
                         json::array({1, "x"}),
                         original["pre_tokenizer"],
                         std::string(5000, 'a'),
                         "\u0000"};
  Random random{7};
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

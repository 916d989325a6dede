// The texts of the data folder through the tokenizers of bert-base-uncased and Llama 2: ids, types and decoded texts equal to
// those of transformers. The digests are made by tests/fixtures/data/make_known_texts.py.
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/sha256.h"
#include "hedgehog/checkpoint/huggingface_directory.h"
#include "hedgehog/data/text_file.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <string>
#include <vector>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

fs::path data_folder() {
  const char* given = std::getenv("HEDGEHOG_DATA");
  return given != nullptr ? fs::path(given) : fs::path(HEDGEHOG_SOURCE_DIR) / "../shared/data";
}

std::string content(const fs::path& path) {
  std::string text;
  for (TextFile file(path); file.read_more(text);) {
  }
  return text;
}

std::vector<std::string> parts(const std::string& text, char separator) {
  std::vector<std::string> result;
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find(separator, begin);
    result.push_back(text.substr(begin, end - begin));
    if (end == std::string::npos) {
      return result;
    }
    begin = end + 1;
  }
}

// A file's lines, a *.tsv file's cells, a *.jsonl file's dialogues and summaries.
std::vector<std::string> texts_of(const fs::path& path) {
  std::vector<std::string> texts;
  const std::string name = path.filename().string();
  for (const std::string& line : parts(content(path), '\n')) {
    if (name.find(".tsv") != std::string::npos) {
      for (std::string& cell : parts(line, '\t')) {
        texts.push_back(std::move(cell));
      }
    } else if (name.find(".jsonl") == std::string::npos) {
      texts.push_back(line);
    } else if (!line.empty()) {
      const json object = json::parse(line);
      texts.push_back(object["dialogue"]);
      texts.push_back(object["summary"]);
    }
  }
  return texts;
}

struct Digest {
  Sha256 hash;
  std::size_t count = 0;

  void add(const std::vector<std::int32_t>& ids) {  // little-endian, as the machines are that this runs on
    hash.update(std::as_bytes(std::span(ids)));
    count += ids.size();
  }
};

void expect_digest(const Tokenizer& tokenizer, const std::vector<std::string>& texts, const json& expected,
                   const std::string& where) {
  Digest ids;
  Sha256 decoded;
  ASSERT_EQ(texts.size(), expected["texts"]) << where;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::vector<std::int32_t> encoded = tokenizer.encode(texts[i], true);
    ids.add(encoded);
    const std::string text = (i > 0 ? "\n" : "") + tokenizer.decode(encoded, true);
    decoded.update(std::as_bytes(std::span(text)));
  }
  EXPECT_EQ(ids.count, expected["ids"]) << where;
  EXPECT_EQ(ids.hash.hexadecimal(), expected["sha256"]) << where;
  EXPECT_EQ(decoded.hexadecimal(), expected["decoded"]) << where;
}

void expect_pairs(const Tokenizer& tokenizer, const fs::path& path, const json& expected, const std::string& where) {
  const auto first = expected["columns"][0].get<std::size_t>(), second = expected["columns"][1].get<std::size_t>();
  for (const auto& [limit, cut] : expected["cut"].items()) {
    Digest ids, types;
    std::size_t pairs = 0;
    for (const std::string& line : parts(content(path), '\n')) {
      const std::vector<std::string> row = parts(line, '\t');
      if (row.size() > std::max(first, second)) {
        const Encoding encoding = tokenizer.encode_pair(row[first], row[second], std::stoll(limit));
        ids.add(encoding.ids);
        types.add(encoding.types);
        ++pairs;
      }
    }
    EXPECT_EQ(pairs, cut["pairs"]) << where << " cut to " << limit;
    EXPECT_EQ(ids.count, cut["ids"]) << where << " cut to " << limit;
    EXPECT_EQ(ids.hash.hexadecimal(), cut["sha256"]) << where << " cut to " << limit;
    EXPECT_EQ(types.hash.hexadecimal(), cut["types"]) << where << " cut to " << limit;
  }
}

void expect_known_texts(const Tokenizer& tokenizer, const std::string& name) {
  const json expected =
      json::parse(read_text_file(fs::path(HEDGEHOG_SOURCE_DIR) / "tests/fixtures/data/known_texts.json"))[name];
  for (const auto& [file, digest] : expected["files"].items()) {
    expect_digest(tokenizer, texts_of(data_folder() / file), digest, name + ": " + file);
  }
  for (const auto& [file, digest] : expected["whole"].items()) {
    expect_digest(tokenizer, {content(data_folder() / file)}, digest, name + ": the whole of " + file);
  }
  for (const auto& [file, digest] : expected["pairs"].items()) {
    expect_pairs(tokenizer, data_folder() / file, digest, name + ": pairs of " + file);
  }
}

// tokenizer.json, and vocab.txt without it.
TEST(KnownTexts, BertBaseUncased) {
  const fs::path folder = data_folder() / "tokenizers/bert-base-uncased";
  if (!fs::exists(folder / "tokenizer.json")) {
    GTEST_SKIP() << "skipped: no data: " << folder;
  }
  TokenizerSource source = read_tokenizer_files(folder);
  expect_known_texts(*make_tokenizer(source), "bert-base-uncased");
  source.tokenizer_json.reset();
  source.word_pieces = read_text_file(folder / "vocab.txt");
  const auto by_lines = make_tokenizer(source);
  expect_known_texts(*by_lines, "bert-base-uncased");
  EXPECT_EQ(by_lines->encode("Hello world, naïve tokenization!", true),
            (std::vector<std::int32_t>{101, 7592, 2088, 1010, 15743, 19204, 3989, 999, 102}));
}

TEST(KnownTexts, Llama2) {
  const fs::path folder = data_folder() / "tokenizers/llama2";
  if (!fs::exists(folder / "tokenizer.model")) {
    GTEST_SKIP() << "skipped: no data: " << folder;
  }
  const auto tokenizer = make_tokenizer(read_tokenizer_files(folder));
  expect_known_texts(*tokenizer, "llama2");
  EXPECT_EQ(tokenizer->vocabulary_size(), 32000);
  EXPECT_EQ(tokenizer->encode("Hello world, naïve 🙂"),
            (std::vector<std::int32_t>{15043, 3186, 29892, 1055, 30085, 345, 29871, 243, 162, 156, 133}));
}

}  // namespace
}  // namespace hedgehog

#include "hedgehog/data/corpus.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/data/text_file.h"
#include "tests/support/compressed.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;
using testing::compressed;
using testing::error_of;
using testing::TemporaryDirectory;

/// As byte-level BPE splits: runs of letters with at most one blank before them, runs of digits, of newlines, other bytes
/// alone. A token is a hash of its run, so that a text cut inside a run gives other tokens.
class RunTokenizer : public Tokenizer {
 public:
  explicit RunTokenizer(bool with_begin = false) : with_begin_(with_begin) {}
  std::vector<std::int32_t> encode(std::string_view text, bool add_special) const override {
    std::vector<std::int32_t> ids;
    if (add_special && with_begin_) ids.push_back(1);
    const auto is = [&](std::size_t at, int (*kind)(int)) {
      return at < text.size() && kind(static_cast<unsigned char>(text[at])) != 0;
    };
    for (std::size_t i = 0; i < text.size();) {
      std::size_t end = i + 1;
      if (is(i, std::isalpha) || (text[i] == ' ' && is(i + 1, std::isalpha))) {
        while (is(end, std::isalpha)) ++end;
      } else if (is(i, std::isdigit)) {
        while (is(end, std::isdigit)) ++end;
      } else if (text[i] == '\n') {
        while (end < text.size() && text[end] == '\n') ++end;
      }
      ids.push_back(static_cast<std::int32_t>(std::hash<std::string_view>{}(text.substr(i, end - i)) % 1000003) + 2);
      i = end;
    }
    return ids;
  }
  std::string decode(std::span<const std::int32_t> ids, bool) const override {
    return ids.size() == 1 && ids[0] == 1 ? "<s>" : "?";
  }
  std::optional<std::int32_t> token_to_id(std::string_view) const override { return std::nullopt; }
  std::int64_t vocabulary_size() const override { return 1000005; }
  const std::vector<std::int32_t>& end_tokens() const override { return end_; }
  std::optional<std::int32_t> begin_token() const override {
    return with_begin_ ? std::optional<std::int32_t>(1) : std::nullopt;
  }

 private:
  bool with_begin_;
  std::vector<std::int32_t> end_ = {0};
};

/// Three MB, so that it is cut in places; `newlines` false leaves only blanks between words to cut at.
std::string long_text(bool newlines) {
  std::string text;
  std::uint32_t state = 1;
  while (text.size() < 3 << 20) {
    state = state * 1664525 + 1013904223;
    text.append(1 + (state >> 28), static_cast<char>('a' + (state >> 9) % 26));
    const std::uint32_t kind = (state >> 20) % 32;
    text += kind == 0 && newlines ? "\n" : kind == 1 && newlines ? ".\n\n" : kind == 2 ? "  " : kind == 3 ? " 123 " : " ";
  }
  return text;
}

TEST(Corpus, PiecesTokenizeAsTheWhole) {
  const TemporaryDirectory folder;
  const RunTokenizer tokenizer;
  for (const bool newlines : {true, false}) {
    const std::string text = long_text(newlines);
    const Corpus plain = read_corpus({folder.write("a.txt", text)}, tokenizer);
    EXPECT_EQ(plain.tokens, tokenizer.encode(text, false));
    EXPECT_EQ(plain.document_starts, std::vector<std::int64_t>{0});
    const Corpus packed = read_corpus({folder.write("a.txt.zst", compressed(text))}, tokenizer);
    EXPECT_EQ(packed.tokens, plain.tokens);
    EXPECT_EQ(packed.sha256, plain.sha256);
  }
}

TEST(Corpus, ARealTokenizerGivesTheSameInPieces) {
  const char* variable = std::getenv("HEDGEHOG_DATA");
  const fs::path data = variable != nullptr ? fs::path(variable) : fs::path(HEDGEHOG_SOURCE_DIR) / "../shared/data";
  const fs::path tokenizer_file = data / "tokenizers/gpt2/tokenizer.json", text_file = data / "tinyshakespeare/input.txt";
  if (!fs::exists(tokenizer_file) || !fs::exists(text_file)) GTEST_SKIP() << "skipped: no data";
  TokenizerSource source;
  source.tokenizer_json = nlohmann::json::parse(read_text_file(tokenizer_file));
  source.tokenizer_config = nlohmann::json::object();
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(source);
  const std::string text = read_text_file(text_file);
  const TemporaryDirectory folder;
  EXPECT_EQ(read_corpus({folder.write("a.txt", text + text)}, *tokenizer).tokens, tokenizer->encode(text + text));
}

TEST(Corpus, LinesAreDocuments) {
  const TemporaryDirectory folder;
  const RunTokenizer tokenizer;
  const fs::path file = folder.write("a.jsonl",
                                     "{\"text\": \"one two\"}\n\n{\"dialogue\": \"A: hi\", \"summary\": "
                                     "\"greeting\"}\r\n{\"text\": \"\"}\n{\"text\": \"end\"}");
  const Corpus corpus = read_corpus({file}, tokenizer);
  ASSERT_EQ(corpus.document_starts.size(), 3u);
  EXPECT_EQ(corpus.document_starts[1], 2);
  EXPECT_EQ(corpus.tokens.back(), tokenizer.encode("end", false)[0]);
}

TEST(Corpus, MessagesGoThroughTheTemplate) {
  const TemporaryDirectory folder;
  const RunTokenizer tokenizer;
  const fs::path file = folder.write("a.jsonl", R"({"messages": [{"role": "user", "content": "hi"}]})");
  const std::string layout = "{% for message in messages %}{{ message['role'] }}:{{ message['content'] }}\n{% endfor %}";
  EXPECT_EQ(read_corpus({file}, tokenizer, 0, layout).tokens, tokenizer.encode("user:hi\n", false));
  EXPECT_NE(error_of([&] { read_corpus({file}, tokenizer); }).find("template"), std::string::npos);
}

TEST(Corpus, DocumentsBeginWithTheBeginToken) {
  const TemporaryDirectory folder;
  const RunTokenizer tokenizer(true);
  const Corpus corpus =
      read_corpus({folder.write("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"\"}\n{\"text\": \"two\"}\n")}, tokenizer);
  EXPECT_EQ(corpus.document_starts, (std::vector<std::int64_t>{0, 2}));
  EXPECT_EQ(corpus.tokens[0], 1);
  EXPECT_EQ(corpus.tokens[2], 1);
}

TEST(Corpus, FoldersAreReadInNameOrderAndTheLimitHolds) {
  const TemporaryDirectory folder;
  const RunTokenizer tokenizer;
  folder.write("b.txt", "bee bee bee");
  folder.write("a.jsonl", "{\"text\": \"ay\"}\n");
  folder.write("ignored.md", "no");
  const Corpus corpus = read_corpus({folder.path()}, tokenizer);
  EXPECT_EQ(corpus.document_starts, (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(corpus.tokens[0], tokenizer.encode("ay", false)[0]);
  const Corpus limited = read_corpus({folder.path()}, tokenizer, 2);
  EXPECT_EQ(limited.tokens.size(), 2u);
  EXPECT_NE(limited.sha256, corpus.sha256);
}

TEST(Corpus, ErrorsSayWhere) {
  const TemporaryDirectory folder;
  const RunTokenizer tokenizer;
  const auto error = [&](const std::string& name, const std::string& bytes) {
    const fs::path path = folder.write(name, bytes);
    return error_of([&] { read_corpus({path}, tokenizer); });
  };
  EXPECT_NE(error("a.jsonl", "{\"text\": \"x\"}\n{oops\n").find("a.jsonl:2"), std::string::npos);
  EXPECT_NE(error("b.jsonl", "\n{\"text\": 3}\n").find("b.jsonl:2"), std::string::npos);
  EXPECT_NE(error("c.jsonl", "{\"label\": \"x\"}\n").find("c.jsonl:1"), std::string::npos);
  EXPECT_NE(error("empty.txt", "").find("no text"), std::string::npos);
  EXPECT_NE(error("what.bin", std::string("x\0y", 3)).find("no text"), std::string::npos);
  const std::string packed = compressed(long_text(true));
  EXPECT_NE(error("cut.txt.zst", packed.substr(0, packed.size() / 2)).find("truncated"), std::string::npos);
  std::string flipped = packed;
  flipped[0] = static_cast<char>(flipped[0] ^ 1);
  EXPECT_NE(error("flipped.txt.zst", flipped).find("flipped.txt.zst"), std::string::npos);
  EXPECT_NE(error_of([&] { read_corpus({folder / "absent.txt"}, tokenizer); }).find("absent.txt"), std::string::npos);
}

TEST(Corpus, TheHeldOutEndIsNeverTrainedOn) {
  Corpus corpus;
  append_document(corpus, std::vector<std::int32_t>{0, 1, 2, 3, 4, 5});
  append_document(corpus, std::vector<std::int32_t>{6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
  append_document(corpus, std::vector<std::int32_t>{16, 17, 18, 19});
  seal(corpus);
  const HeldOut parts = hold_out_end(corpus, 0.4, 100);  // 8 of 20 tokens: the border is inside the second document
  EXPECT_EQ(parts.training.tokens.size(), 12u);
  EXPECT_EQ(parts.training.document_starts, (std::vector<std::int64_t>{0, 6}));
  EXPECT_EQ(parts.evaluation.tokens.front(), 12);
  EXPECT_EQ(parts.evaluation.document_starts, (std::vector<std::int64_t>{0, 4}));
  EXPECT_EQ(hold_out_end(corpus, 0.4, 3).evaluation.tokens.size(), 3u);
  EXPECT_THROW(hold_out_end(corpus, 0.01, 100), Error);
}

TEST(TextFile, CutsOnlyWhereBothSidesStandAlone) {
  EXPECT_EQ(last_cut("ab\ncd", 0, false), 3u);
  EXPECT_EQ(last_cut("ab.\ncd", 0, false), 4u);
  for (const char* whole : {"ab \ncd", "ab\n cd", "ab\n\ncd", "ab\n", "abcd", "ab\n!d", "ab cd"}) {
    EXPECT_EQ(last_cut(whole, 0, false), 0u) << whole;
  }
  EXPECT_EQ(last_cut("ab cd", 0, true), 2u);
  EXPECT_EQ(last_cut("ab  cd", 0, true), 0u);
  EXPECT_EQ(last_cut("ab\ncd\nef", 4, false), 6u);
  EXPECT_EQ(last_cut("ab\ncdef", 4, false), 0u);
}

}  // namespace
}  // namespace hedgehog

// The corpus that a model writes: its size, its sameness, its cache.
#include "hedgehog/inference/self_text.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/inference/engine.h"
#include "tests/inference/tiny_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace hedgehog {
namespace {

using testing::ByteTokenizer;
using testing::tiny_model;

class CountingProgress : public Progress {
 public:
  void begin(std::string_view, std::int64_t total) override {
    ++begun;
    this->total = total;
    last = 0;
  }
  void update(std::int64_t done, std::string_view) override {
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    last = done;
  }
  int begun = 0;
  std::int64_t total = 0, last = 0;
};

class SelfText : public ::testing::Test {
 protected:
  SelfText()
      : folder_(std::filesystem::temp_directory_path() / fmt::format("hedgehog-self-text-{}", ::getpid())),
        model_(tiny_model({}, 0.1)) {
    config_.tokens = 300;
    config_.length = 40;
    config_.batch = 8;
    config_.seed = 3;
  }
  ~SelfText() override { std::filesystem::remove_all(folder_); }

  Corpus write(const Tokenizer& tokenizer = ByteTokenizer(), const std::string& sha256 = "abc") {
    return self_text(model_, tokenizer, sha256, config_, folder_ / "deeper", progress_);
  }
  std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> result;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "deeper")) {
      result.push_back(entry.path());
    }
    return result;
  }

  std::filesystem::path folder_;
  Decoder model_;
  SelfTextConfig config_;
  CountingProgress progress_;
};

void expect_same(const Corpus& a, const Corpus& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.document_starts, b.document_starts);
  EXPECT_EQ(a.sha256, b.sha256);
  EXPECT_EQ(a.description, b.description);
}

TEST_F(SelfText, HasTheTokensThatWereAskedFor) {
  const Corpus corpus = write();
  EXPECT_EQ(corpus.tokens.size(), 300u);
  EXPECT_EQ(corpus.sha256.size(), 64u);
  EXPECT_EQ(corpus.document_starts.front(), 0);
  for (std::size_t i = 1; i < corpus.document_starts.size(); ++i) {
    EXPECT_LE(corpus.document_starts[i] - corpus.document_starts[i - 1], 40);
  }
  for (const std::int32_t token : corpus.tokens) {
    EXPECT_TRUE(token < 256 || token == 259) << "token " << token << " begins or ends text";
  }
  EXPECT_EQ(progress_.last, 300);
}

TEST_F(SelfText, IsReadFromItsCache) {
  const Corpus first = write();
  EXPECT_EQ(progress_.begun, 1);
  EXPECT_EQ(files().size(), 1u);
  expect_same(write(), first);
  EXPECT_EQ(progress_.begun, 1) << "the second time nothing is sampled";
  EXPECT_FALSE(std::ranges::any_of(files(), [](const auto& path) { return path.extension() != ".safetensors"; }));

  write(ByteTokenizer(), "another model");
  EXPECT_EQ(progress_.begun, 2);
  config_.top_p = 0.9;
  EXPECT_NE(write().tokens, first.tokens);
  EXPECT_EQ(progress_.begun, 3);
}

TEST_F(SelfText, GoesOnFromTheBatchesThatWereDone) {
  struct Stopped {};
  class StopAfter : public Progress {
   public:
    void update(std::int64_t done, std::string_view) override {
      if (done >= 200) throw Stopped{};
    }
  };
  config_.batch = 2;
  StopAfter stop;
  EXPECT_THROW(self_text(model_, ByteTokenizer(), "abc", config_, folder_ / "deeper", stop), Stopped);
  ASSERT_EQ(files().size(), 1u);
  class FirstUpdate : public Progress {
   public:
    void update(std::int64_t done, std::string_view) override {
      if (first == 0) first = done;
    }
    std::int64_t first = 0;
  };
  FirstUpdate second;
  const Corpus resumed = self_text(model_, ByteTokenizer(), "abc", config_, folder_ / "deeper", second);
  EXPECT_GT(second.first, 80) << "what was done was written again";
  std::filesystem::remove_all(folder_);
  expect_same(resumed, write());
}

TEST_F(SelfText, ReplacesADamagedCache) {
  const Corpus first = write();
  const std::filesystem::path path = files().front();
  const std::string bytes = read_text_file(path);
  const auto with_byte = [&](std::size_t at, char value) {
    std::string changed = bytes;
    changed[at] = value;
    return changed;
  };
  // Cut, empty, a token below zero, another model's metadata.
  const std::size_t key = bytes.find("abc");
  ASSERT_NE(key, std::string::npos);
  int begun = 1;
  for (const std::string& damaged :
       {bytes.substr(0, bytes.size() / 2), std::string(), with_byte(bytes.size() - 1, '\xFF'), with_byte(key, 'x')}) {
    write_text_file(path, damaged);
    expect_same(write(), first);
    EXPECT_EQ(progress_.begun, ++begun);
    EXPECT_EQ(read_text_file(path), bytes) << "the same arguments give the same bytes";
  }
}

TEST_F(SelfText, IsTheSameForAnyBatch) {
  // Every seventh byte ends a document, so that rows leave the batch at different times.
  std::vector<std::int32_t> end{258};
  for (std::int32_t byte = 0; byte < 256; byte += 7) {
    end.push_back(byte);
  }
  const ByteTokenizer tokenizer(end);
  const Corpus eight = write(tokenizer);
  ASSERT_GT(eight.document_starts.size(), 20u);
  config_.batch = 1;
  const Corpus one = write(tokenizer);
  EXPECT_EQ(one.tokens, eight.tokens);
  EXPECT_EQ(one.document_starts, eight.document_starts);
}

TEST_F(SelfText, IsWrittenBySoftmaxWhateverIsInstalled) {
  const Corpus expected = write();
  AttentionConfig linear;
  linear.kind = AttentionKind::kLinear;
  model_.set_attention(linear);
  std::filesystem::remove_all(folder_);
  EXPECT_EQ(write().tokens, expected.tokens);
}

// Nearly greedy, a document is the greedy continuation of "<|endoftext|>".
TEST_F(SelfText, ContinuesTheEndOfText) {
  model_ = tiny_model({}, 0.3);
  config_.temperature = 1e-6;
  config_.tokens = 40;
  const Corpus corpus = write();
  GenerationRequest request;
  request.prompt = {256};
  request.max_tokens = 40;
  const ByteTokenizer tokenizer({256, 258});
  const std::string text = generate(model_, tokenizer, request).text;
  const std::int64_t end = corpus.document_starts.size() > 1 ? corpus.document_starts[1] : std::ssize(corpus.tokens);
  std::string written;
  for (const char c : tokenizer.decode(std::span(corpus.tokens).first(static_cast<std::size_t>(end)), true)) {
    written += static_cast<unsigned char>(c) < 128 ? std::string(1, c) : "";
  }
  std::string ascii;
  std::ranges::copy_if(text, std::back_inserter(ascii), [](char c) { return static_cast<unsigned char>(c) < 128; });
  EXPECT_EQ(written, ascii);
}

TEST_F(SelfText, SaysWhenTheModelWritesNothing) {
  std::vector<std::int32_t> all(260);
  for (std::int32_t i = 0; i < 260; ++i) {
    all[static_cast<std::size_t>(i)] = i;
  }
  EXPECT_THROW(write(ByteTokenizer(all)), Error);
  config_.batch = 0;
  EXPECT_THROW(write(), Error);
}

}  // namespace
}  // namespace hedgehog

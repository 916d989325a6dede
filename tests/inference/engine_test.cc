// Chunked reading and recurrent steps against one parallel pass, the size of the state, and generate() on a tiny model.
#include "hedgehog/inference/engine.h"

#include "hedgehog/base/interrupt.h"
#include "hedgehog/checkpoint/checkpoint.h"
#include "tests/inference/tiny_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>

namespace hedgehog {
namespace {

using testing::ByteTokenizer;
using testing::tiny_model;

struct Form {
  const char* name;
  AttentionConfig config;
};

std::vector<Form> forms() {
  const auto form = [](const char* name, AttentionKind kind, const char* map, int window, int sinks, bool gate) {
    AttentionConfig config;
    config.kind = kind;
    config.feature_map = map;
    config.window = window;
    config.sinks = sinks;
    config.gate = gate;
    return Form{name, config};
  };
  return {form("softmax", AttentionKind::kSoftmax, "hedgehog-softmax", 0, 0, false),
          form("softmax with a window", AttentionKind::kSoftmax, "hedgehog-softmax", 16, 0, false),
          form("linear", AttentionKind::kLinear, "hedgehog-softmax", 0, 0, false),
          form("linear exp", AttentionKind::kLinear, "hedgehog-exp", 0, 0, false),
          form("linear joint", AttentionKind::kLinear, "hedgehog-joint", 0, 0, false),
          form("gated", AttentionKind::kLinear, "hedgehog-softmax", 0, 0, true),
          form("hybrid", AttentionKind::kHybrid, "hedgehog-softmax", 16, 0, false),
          form("hybrid with sinks and gate", AttentionKind::kHybrid, "hedgehog-softmax", 16, 4, true),
          form("hybrid exp", AttentionKind::kHybrid, "hedgehog-exp", 16, 2, false)};
}

at::Tensor random_tokens(std::int64_t count) {
  at::manual_seed(21);
  return at::randint(0, 256, {1, count}, at::kLong);
}

std::int64_t bytes(const std::vector<AttentionState>& states) {
  std::int64_t sum = 0;
  for (const AttentionState& state : states) {
    sum += state.bytes();
  }
  return sum;
}

TEST(Engine, AnySplitOfThePromptEqualsOneParallelPass) {
  const at::NoGradGuard no_gradients;
  constexpr std::int64_t kLength = 150;
  const at::Tensor tokens = random_tokens(kLength);
  const std::vector<std::vector<std::int64_t>> splits = {{100, 37},          {1, 1, 1, 90},     {16, 16, 16, 16},
                                                         {15, 17, 1, 64, 3}, {3, 2, 1, 120, 7}, {}};
  for (const Form& form : forms()) {
    const Decoder model = tiny_model(form.config);
    const at::Tensor expected = model.logits(model.forward(tokens));
    for (const std::vector<std::int64_t>& split : splits) {
      std::vector<AttentionState> states;
      std::vector<at::Tensor> parts;
      std::int64_t done = 0;
      for (const std::int64_t length : split) {
        parts.push_back(model.continue_from(states, tokens.narrow(1, done, length)));
        done += length;
      }
      for (; done < kLength; ++done) {
        parts.push_back(model.continue_from(states, tokens.narrow(1, done, 1)));
      }
      const at::Tensor difference = (model.logits(at::cat(parts, 1)) - expected).abs();
      EXPECT_LE(difference.max().item<double>(), 1e-3)
          << form.name << ", " << split.size() << " chunks, worst row " << difference.amax(-1).argmax().item<std::int64_t>();
      EXPECT_EQ(states.front().position, kLength) << form.name;
    }
  }
}

// The target of the conversion on a model that people know: a prompt of 4,096 tokens in chunks, then single tokens.
TEST(Engine, SmolLm2ReadsALongPromptInChunksAsInOnePass) {
  const char* folder = std::getenv("HEDGEHOG_MODELS");
  const std::filesystem::path models = folder != nullptr ? folder : HEDGEHOG_SOURCE_DIR "/.deps/models";
  const std::filesystem::path path = models / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "skipped: no model (scripts/model fetches it): " << path;
  const at::NoGradGuard no_gradients;
  Decoder model(open_checkpoint(path));
  constexpr std::int64_t kPrompt = 4096, kSteps = 8, kChunk = 1500;
  at::manual_seed(5);
  const at::Tensor tokens = at::randint(0, model.config().vocabulary, {1, kPrompt + kSteps}, at::kLong);
  for (const auto kind : {AttentionKind::kLinear, AttentionKind::kHybrid}) {
    AttentionConfig config;
    config.kind = kind;
    config.gate = true;
    if (kind == AttentionKind::kHybrid) {
      config.window = 64;
      config.sinks = 4;
    }
    model.set_attention(config);
    const at::Tensor expected = model.logits(model.forward(tokens).narrow(1, kPrompt - 1, kSteps + 1));
    std::vector<AttentionState> states;
    std::vector<at::Tensor> rows;
    for (std::int64_t done = 0; done < kPrompt; done += kChunk) {
      const std::int64_t length = std::min(kChunk, kPrompt - done);
      rows = {model.continue_from(states, tokens.narrow(1, done, length)).narrow(1, length - 1, 1)};
    }
    for (std::int64_t step = 0; step < kSteps; ++step) {
      rows.push_back(model.continue_from(states, tokens.narrow(1, kPrompt + step, 1)));
    }
    const double difference = (model.logits(at::cat(rows, 1)) - expected).abs().max().item<double>();
    std::cout << to_string(kind) << ": largest difference of the logits " << difference << "\n";
    EXPECT_LE(difference, 1e-3) << to_string(kind);
  }
}

TEST(Engine, StateStaysOfOneSize) {
  const at::NoGradGuard no_gradients;
  const at::Tensor tokens = random_tokens(4096);
  for (const Form& form : forms()) {
    if (form.config.kind == AttentionKind::kSoftmax && form.config.window == 0) {
      continue;
    }
    const Decoder model = tiny_model(form.config);
    std::vector<AttentionState> states;
    model.continue_from(states, tokens.narrow(1, 0, 128));
    const std::int64_t after_128 = bytes(states);
    EXPECT_GT(after_128, 0) << form.name;
    for (std::int64_t done = 128; done < 4096; done += 256) {
      model.continue_from(states, tokens.narrow(1, done, std::min<std::int64_t>(256, 4096 - done)));
    }
    EXPECT_EQ(bytes(states), after_128) << form.name;
    model.continue_from(states, tokens.narrow(1, 0, 1));
    EXPECT_EQ(bytes(states), after_128) << form.name;
  }
}

// Writes each token as its number, so that text tells the tokens.
class NumberTokenizer : public ByteTokenizer {
 public:
  std::string decode(std::span<const std::int32_t> ids, bool) const override {
    std::string text;
    for (const std::int32_t id : ids) text += std::to_string(id) + " ";
    return text;
  }
};

std::vector<std::int32_t> prompt_of(const std::string& text) {
  return ByteTokenizer().encode(text, false);
}

// The greedy continuation by parallel passes over all that is there.
std::vector<std::int32_t> greedy_by_parallel_passes(const Decoder& model, std::vector<std::int32_t> tokens, int count) {
  const at::NoGradGuard no_gradients;
  std::vector<std::int32_t> chosen;
  for (int i = 0; i < count; ++i) {
    const at::Tensor ids = at::tensor(tokens, at::kInt).to(at::kLong).unsqueeze(0);
    const at::Tensor logits = model.logits(model.forward(ids)).select(1, std::ssize(tokens) - 1);
    chosen.push_back(logits.argmax().item<int>());
    tokens.push_back(chosen.back());
  }
  return chosen;
}

TEST(Generate, GreedyEqualsParallelPasses) {
  const std::string text = "What a hedgehog eats at night, and what it does when winter comes";
  for (const Form& form : forms()) {
    const Decoder model = tiny_model(form.config);
    const std::vector<std::int32_t> expected = greedy_by_parallel_passes(model, prompt_of(text), 40);
    GenerationRequest request;
    request.prompt = prompt_of(text);
    request.max_tokens = 40;
    request.ignore_end = true;
    for (const std::int64_t chunk : {7, 512}) {
      request.chunk_tokens = chunk;
      const GenerationResult result = generate(model, NumberTokenizer(), request);
      EXPECT_EQ(result.text, NumberTokenizer().decode(expected, true)) << form.name << ", chunks of " << chunk;
      EXPECT_EQ(result.tokens, 40);
      EXPECT_EQ(result.steps, 39);
      EXPECT_EQ(result.prompt_tokens, std::ssize(text));
      EXPECT_EQ(result.stop_reason, "length");
      EXPECT_GT(result.state_bytes, 0);
    }
  }
}

TEST(Generate, KeepsTheStateInTheDtypeThatIsAskedFor) {
  for (const Form& form : forms()) {
    if (form.config.kind == AttentionKind::kSoftmax) continue;
    const Decoder model = tiny_model(form.config);
    GenerationRequest request;
    request.prompt = prompt_of("What a hedgehog eats at night");
    request.max_tokens = 20;
    request.ignore_end = true;
    std::vector<std::int64_t> sizes;
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kChar}) {
      request.state_dtype = dtype;
      const GenerationResult result = generate(model, NumberTokenizer(), request);
      EXPECT_EQ(generate(model, NumberTokenizer(), request).text, result.text) << form.name << ": not the same twice";
      sizes.push_back(result.state_bytes);
    }
    // Two layers, two key/value heads, 16 features of 8 numbers: 2 bytes less each, then 3 less but 4 for a scale.
    constexpr std::int64_t kRows = 2 * 2 * 16;
    EXPECT_EQ(sizes[0] - sizes[1], kRows * 8 * 2) << form.name;
    EXPECT_EQ(sizes[0] - sizes[2], kRows * (8 * 3 - 4)) << form.name;
  }
}

TEST(Generate, AStateInFewBitsGivesNearlyTheSameLogits) {
  const at::NoGradGuard no_gradients;
  const at::Tensor tokens = random_tokens(150);
  for (const Form& form : forms()) {
    if (form.config.kind == AttentionKind::kSoftmax) continue;
    const Decoder model = tiny_model(form.config);
    const at::Tensor expected = model.logits(model.forward(tokens));
    for (const auto dtype : {at::kBFloat16, at::kChar}) {
      std::vector<AttentionState> states(2);
      for (AttentionState& state : states) state.dtype = dtype;
      std::vector<at::Tensor> parts = {model.continue_from(states, tokens.narrow(1, 0, 100))};
      for (std::int64_t i = 100; i < 150; ++i) parts.push_back(model.continue_from(states, tokens.narrow(1, i, 1)));
      const at::Tensor found = model.logits(at::cat(parts, 1));
      const double error = (found - expected).square().mean().sqrt().item<double>();
      EXPECT_LE(error, 0.1 * expected.std().item<double>()) << form.name << " " << at::toString(dtype);
    }
  }
}

class GenerateText : public ::testing::Test {
 protected:
  GenerateText() : model_(tiny_model({}, 0.1)) {
    request_.prompt = prompt_of("abc");
    request_.max_tokens = 60;
    request_.ignore_end = true;
    request_.sampler.temperature = 1;
    request_.sampler.seed = 4;
  }
  GenerationResult run(const Tokenizer& tokenizer = ByteTokenizer()) { return generate(model_, tokenizer, request_); }

  Decoder model_;
  GenerationRequest request_;
};

TEST_F(GenerateText, PiecesMakeTheText) {
  std::string pieces;
  int count = 0;
  const GenerationResult result = generate(model_, ByteTokenizer(), request_, [&](std::string_view piece) {
    pieces += piece;
    ++count;
    EXPECT_FALSE(piece.empty());
  });
  EXPECT_EQ(pieces, result.text);
  EXPECT_GT(count, 20);
  EXPECT_EQ(run().text, result.text) << "the same seed";
  request_.sampler.seed = 5;
  EXPECT_NE(run().text, result.text) << "another seed";
}

TEST_F(GenerateText, StopsBeforeAStopString) {
  const std::string text = run().text;
  ASSERT_GT(text.size(), 30u);
  request_.stop = {"this does not come", text.substr(20, 4)};
  const std::size_t end = text.find(request_.stop[1]);
  const GenerationResult result = run();
  EXPECT_EQ(result.text, text.substr(0, end));
  EXPECT_EQ(result.stop_reason, "stop");
  EXPECT_LT(result.tokens, 60);
}

TEST_F(GenerateText, EndsAtAnEndToken) {
  const std::string text = run().text;
  std::size_t ascii = 10;
  while (static_cast<unsigned char>(text[ascii]) >= 128) ++ascii;
  const ByteTokenizer tokenizer({static_cast<std::int32_t>(text[ascii])});
  EXPECT_EQ(run(tokenizer).text, text);
  request_.ignore_end = false;
  const GenerationResult result = run(tokenizer);
  EXPECT_EQ(result.stop_reason, "end");
  EXPECT_EQ(result.text, text.substr(0, text.find(text[ascii])));
  EXPECT_EQ(result.steps, result.tokens) << "the end token is a step but no token of the text";
}

TEST_F(GenerateText, TakesAnEmptyPromptAndNoTokens) {
  request_.prompt.clear();
  request_.max_tokens = 0;
  const GenerationResult result = run();
  EXPECT_EQ(result.prompt_tokens, 1);
  EXPECT_EQ(result.tokens, 0);
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.stop_reason, "length");
  EXPECT_GT(result.state_bytes, 0);
}

TEST_F(GenerateText, RefusesTokensOutsideTheVocabulary) {
  request_.prompt.push_back(260);
  EXPECT_THROW(run(), Error);
  request_.prompt.back() = -1;
  EXPECT_THROW(run(), Error);
}

TEST_F(GenerateText, AnInterruptKeepsTheTextSoFar) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string text = run().text;
  EXPECT_EXIT(
      {
        catch_interrupts();
        int pieces = 0;
        const GenerationResult result = generate(model_, ByteTokenizer(), request_, [&](std::string_view) {
          if (++pieces == 5) std::raise(SIGINT);
        });
        const bool kept = result.stop_reason == "interrupt" && !result.text.empty() && text.starts_with(result.text);
        std::exit(kept ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace hedgehog

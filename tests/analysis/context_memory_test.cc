#include "hedgehog/analysis/context_memory.h"

#include "tests/inference/tiny_model.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hedgehog {
namespace {

using testing::error_of;
using testing::tiny_model;

TEST(MemoryBudget, ReadsUnits) {
  const auto is = [](const std::string& text, std::int64_t bytes, std::int64_t tokens) {
    const MemoryBudget read = memory_budget(text);
    EXPECT_EQ(read.bytes, bytes) << text;
    EXPECT_EQ(read.tokens, tokens) << text;
  };
  is("64MiB@32k", std::int64_t{64} << 20, 32768);
  is("5MB@1000", 5'000'000, 1000);
  is("123@4", 123, 4);
  is("2GiB@1k", std::int64_t{2} << 30, 1024);
  for (const char* wrong :
       {"", "64MiB", "64MiB@", "@32k", "-1MB@4k", "0@4", "64TB@4k", "64 MiB@4k", "64MiB@4k@", "9999999999999GiB@4k"}) {
    EXPECT_NE(error_of([&] { memory_budget(wrong); }).find("64MiB@32k"), std::string::npos) << wrong;
  }
}

TEST(ContextBytes, AreWhatDecodingKeeps) {
  AttentionConfig linear, hybrid;
  linear.kind = AttentionKind::kLinear;
  hybrid.kind = AttentionKind::kHybrid;
  hybrid.window = 16;
  AttentionConfig sinks = hybrid;
  sinks.sinks = 2;
  for (const AttentionConfig& config : {linear, hybrid, sinks}) {
    Decoder model = tiny_model(config);
    std::vector<AttentionState> states;
    model.continue_from(states, at::arange(0, 64).unsqueeze(0));
    std::int64_t bytes = 0;
    for (const AttentionState& state : states) bytes += state.bytes();
    EXPECT_EQ(context_bytes(model, 64), bytes) << to_string(config.kind);
  }
  // Softmax's keys and values: two layers, 2 heads of 8 each, fp32.
  EXPECT_EQ(context_bytes(tiny_model(), 1024), 2 * (2 * 2 * 8 * 1024 * 4));
}

}  // namespace
}  // namespace hedgehog

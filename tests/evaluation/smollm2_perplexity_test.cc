// SmolLM2's perplexity on WikiText-2 against transformers (tests/fixtures/evaluation/make_smollm2.py).
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/evaluation/perplexity.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;

fs::path folder(const char* variable, const char* otherwise) {
  const char* set = std::getenv(variable);
  return set != nullptr ? fs::path(set) : fs::path(HEDGEHOG_SOURCE_DIR) / otherwise;
}

TEST(Smollm2, PerplexityEqualsTransformers) {
  const fs::path gguf = folder("HEDGEHOG_MODELS", ".deps/models") / "SmolLM2-135M-Instruct.Q4_1.gguf";
  const fs::path text = folder("HEDGEHOG_DATA", "../shared/data") / "wikitext2/test.txt.zst";
  if (!fs::exists(gguf)) GTEST_SKIP() << "skipped: no model at " << gguf;
  if (!fs::exists(text)) GTEST_SKIP() << "skipped: no data at " << text;
  const auto fixture =
      nlohmann::json::parse(read_text_file(fs::path(HEDGEHOG_SOURCE_DIR) / "tests/fixtures/evaluation/smollm2.json"));
  const std::int64_t window = fixture["window"];
  constexpr std::int64_t kWindows = 4;  // of the fixture's: the rest takes a minute and tells nothing new
  double loss = 0;
  for (int i = 0; i < kWindows; ++i) loss += fixture["window_losses"][i].get<double>();

  const Checkpoint checkpoint = open_checkpoint(gguf);
  const Corpus corpus = read_corpus({text}, *make_tokenizer(checkpoint.tokenizer), kWindows * window);
  Progress silent;
  const Perplexity result =
      perplexity(Decoder(checkpoint), corpus, {.window = window, .limit_tokens = kWindows * window}, silent);
  EXPECT_EQ(result.tokens, kWindows * (window - 1));
  EXPECT_NEAR(result.perplexity / std::exp(loss / static_cast<double>(result.tokens)), 1, 1e-4);
}

}  // namespace
}  // namespace hedgehog

// Rounding to ggml's formats against the gguf package.
#include "hedgehog/models/weight_rounding.h"

#include "hedgehog/base/error.h"
#include "model_support.h"

namespace hedgehog {
namespace {

using testing::fixture;
using testing::load_fixture;

class RoundedWeights : public ::testing::TestWithParam<std::string> {};

TEST_P(RoundedWeights, AreTheReferences) {
  const SafetensorsFile expected(fixture("rounded.expected"));
  EXPECT_TRUE(at::equal(rounded_weights(expected.load("values"), GetParam()), expected.load(GetParam())));
}

TEST_P(RoundedWeights, StayWhereTheyAreWhenRoundedAgain) {
  // The block's largest weight is on a step, so that the scale is the same again, but for its rounding to fp16.
  const at::Tensor once = rounded_weights(SafetensorsFile(fixture("rounded.expected")).load("values"), GetParam());
  EXPECT_TRUE(at::allclose(rounded_weights(once, GetParam()), once, /*rtol=*/1e-3, /*atol=*/1e-7));
}

INSTANTIATE_TEST_SUITE_P(Formats, RoundedWeights, ::testing::ValuesIn(weight_formats()));

TEST(RoundWeights, OfAModelMovesMatricesOfWholeBlocksAndNothingElse) {
  Decoder model = load_fixture("llama");
  const Decoder before = load_fixture("llama");
  Decoder kept = before;
  const std::int64_t bytes = round_weights(model, "q4_0");
  std::int64_t expected = 0;
  const auto weights = model.weights(), old = kept.weights();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const at::Tensor &now = *weights[i].second, &was = *old[i].second;
    const bool fits = now.dim() == 2 && now.size(1) % 32 == 0;
    EXPECT_EQ(at::equal(now, was), !fits) << weights[i].first;
    expected += fits ? now.numel() / 32 * 18 : now.numel() * 4;
  }
  EXPECT_EQ(bytes, expected);
}

TEST(RoundWeights, WhatDoesNotFitIsNamed) {
  const auto refused = [](const at::Tensor& matrix, const std::string& format) {
    try {
      rounded_weights(matrix, format);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refused(at::zeros({2, 40}), "q8_0"), "q8_0 has blocks of 32 weights in a row, and the matrix has 40 columns");
  EXPECT_EQ(refused(at::zeros({2, 32}), "q3"), "weights in \"q3\" are not known; there are: q8_0, q4_0");
}

}  // namespace
}  // namespace hedgehog

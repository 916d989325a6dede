// The count of multiplications against a count by loops, and the sizes that are reported against those of tensors.
#include "hedgehog/benchmark/problem.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace hedgehog {
namespace {

/// A multiplication and an addition for each of the form's sums, one row after the other.
double counted(const AttentionProblem& problem) {
  const auto& [name, heads, kv_heads, dim, causal] = problem.shape;
  const std::int64_t features = 2 * dim;
  std::int64_t products = 0;
  for (std::int64_t row = 0; row < problem.length; ++row) {
    products += (heads + kv_heads) * dim * dim;                // W x
    products += (heads + kv_heads) * features * (dim + 1);     // φ(q)ᵀ [S, z]; φ(k) [v, 1]ᵀ
    const std::int64_t keys = causal ? row % 64 + 1 : 0;       // of the chunk
    products += heads * keys * features + heads * keys * dim;  // φ(q)·φ(k), weights · v
  }
  return 2.0 * static_cast<double>(products * problem.batch);
}

TEST(Problem, FlopsAreCountedExactly) {
  for (const HeadShape& shape : head_shapes()) {
    for (const std::int64_t length : {1, 63, 64, 200}) {
      AttentionProblem problem{shape, Work::kForward, 3, length, at::kFloat};
      EXPECT_DOUBLE_EQ(linear_flops(problem), counted(problem)) << shape.name << " " << length;
      problem.work = Work::kTrain;
      EXPECT_DOUBLE_EQ(linear_flops(problem), 3 * counted(problem)) << shape.name << " " << length;
    }
  }
}

TEST(Problem, DecodingCostsTheSameAfterAnyLength) {
  AttentionProblem problem{head_shapes().front(), Work::kDecode, 4, 64, at::kBFloat16};
  const double flops = linear_flops(problem), bytes = decode_bytes(problem);
  problem.length = 1 << 20;
  EXPECT_EQ(linear_flops(problem), flops);
  EXPECT_EQ(decode_bytes(problem), bytes);
}

TEST(Problem, BytesAreThoseOfTheTensors) {
  for (const Work work : all_works()) {
    const AttentionProblem problem{head_shapes().front(), work, 2, 2000, at::kBFloat16};
    const AttentionInput input = random_input(problem);
    const std::size_t direction = work == Work::kTrain ? input.q.nbytes() : 0;
    EXPECT_EQ(input_bytes(problem), static_cast<double>(input.q.nbytes() + input.k.nbytes() + input.v.nbytes() + direction));
    EXPECT_EQ(input.q.size(2), work == Work::kDecode ? 1 : 2000);
  }
}

}  // namespace
}  // namespace hedgehog

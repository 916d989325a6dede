// Gradients of whole models: against finite differences, and the same with gradient checkpointing as without.
#include "hedgehog/models/recompute.h"
#include "model_support.h"

#include <torch/csrc/autograd/autograd.h>

namespace hedgehog {
namespace {

using testing::fixture;
using testing::load_fixture;
using testing::random_normal;
using testing::random_tokens;
using testing::relative_difference;

// What training may have as its leaves.
std::vector<at::Tensor> prepare(Decoder& model, bool full_weights) {
  std::vector<at::Tensor> leaves;
  for (DecoderLayer& layer : model.layers()) {
    for (Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.down}) {
      linear->add_lora(2, 4, leaves.size());
      {
        const at::NoGradGuard no_gradients;
        linear->lora_b.copy_(random_normal(linear->lora_b.sizes(), leaves.size()) * 0.1);
      }
      leaves.insert(leaves.end(), {linear->lora_a, linear->lora_b});
    }
    for (auto& [name, tensor] : layer.attention.parameters()) leaves.push_back(tensor->requires_grad_(true));
  }
  if (full_weights) {
    for (auto& [name, tensor] : model.weights()) leaves.push_back(tensor->requires_grad_(true));
  }
  return leaves;
}

at::Tensor loss_of(const Decoder& model, const at::Tensor& tokens, const at::Tensor& segment_start) {
  const at::Tensor logits = model.logits(model.forward(tokens, segment_start));
  return (logits * random_normal(logits.sizes(), 99)).sum();
}

std::vector<at::Tensor> gradients(const Decoder& model, const std::vector<at::Tensor>& leaves, const at::Tensor& tokens,
                                  const at::Tensor& segment_start) {
  for (const at::Tensor& leaf : leaves) leaf.mutable_grad() = at::Tensor();
  loss_of(model, tokens, segment_start).backward();
  std::vector<at::Tensor> result;
  for (const at::Tensor& leaf : leaves) {
    EXPECT_TRUE(leaf.grad().defined());
    result.push_back(leaf.grad().clone());
  }
  return result;
}

AttentionConfig hybrid() {
  AttentionConfig config;
  config.kind = AttentionKind::kHybrid;
  config.window = 4;
  config.sinks = 1;
  config.gate = true;
  return config;
}

TEST(TrainingTest, CheckpointingGivesEqualGradients) {
  for (const char* name : {"llama_bias", "qwen3", "llama_tied"}) {
    for (const AttentionConfig& config : {AttentionConfig{}, hybrid()}) {
      for (const bool full_weights : {false, true}) {
        SCOPED_TRACE(std::string(name) + " " + to_string(config.kind) + (full_weights ? " all weights" : " LoRA"));
        Decoder model = load_fixture(name);
        model.set_attention(config);
        const std::vector<at::Tensor> leaves = prepare(model, full_weights);
        const at::Tensor tokens = random_tokens({2, 24}, 97, 5);
        const at::Tensor starts = at::cat({at::zeros({2, 10}, at::kInt), at::full({2, 14}, 10, at::kInt)}, 1);
        const std::vector<at::Tensor> plain = gradients(model, leaves, tokens, starts);
        model.gradient_checkpointing = true;
        const std::vector<at::Tensor> checkpointed = gradients(model, leaves, tokens, starts);
        for (std::size_t i = 0; i < leaves.size(); ++i) {
          EXPECT_LE(relative_difference(checkpointed[i], plain[i]), 1e-6) << "leaf " << i;
        }
      }
    }
  }
}

TEST(TrainingTest, GradientsAreFiniteDifferences) {
  Decoder model = load_fixture("qwen3");
  model.set_attention(hybrid(), {{1}});
  const std::vector<at::Tensor> leaves = prepare(model, /*full_weights=*/true);
  const at::Tensor tokens = random_tokens({1, 20}, 97, 6);
  const std::vector<at::Tensor> analytic = gradients(model, leaves, tokens, {});
  const at::NoGradGuard no_gradients;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    // Along the gradient the slope is its norm, the one number that fp32 differences give with some digits.
    const double norm = analytic[i].norm().item<double>();
    ASSERT_GT(norm, 0) << "leaf " << i;
    const at::Tensor direction = analytic[i] / norm;
    const double step = 3e-3 * std::max(1.0, leaves[i].norm().item<double>() / 10);
    leaves[i].add_(direction, step);
    const double above = loss_of(model, tokens, {}).item<double>();
    leaves[i].add_(direction, -2 * step);
    const double below = loss_of(model, tokens, {}).item<double>();
    leaves[i].add_(direction, step);
    // The second part is fp32's rounding of a loss of about 100 over the step: it hides the gate's bias and nothing else.
    EXPECT_NEAR((above - below) / (2 * step), norm, 0.05 * norm + 0.02) << "leaf " << i;
  }
}

TEST(TrainingTest, CheckpointingStillAccumulates) {
  Decoder model = load_fixture("llama");
  const std::vector<at::Tensor> leaves = prepare(model, false);
  const at::Tensor tokens = random_tokens({1, 8}, 97, 5);
  model.gradient_checkpointing = true;
  const std::vector<at::Tensor> once = gradients(model, leaves, tokens, {});
  loss_of(model, tokens, {}).backward();
  for (std::size_t i = 0; i < leaves.size(); ++i) EXPECT_LE(relative_difference(leaves[i].grad(), 2 * once[i]), 1e-6);
}

TEST(RecomputeTest, RunsTheFunctionAgainAndOnlyThen) {
  int calls = 0;
  const at::Tensor weight = random_normal({4}, 1).requires_grad_(true), x = random_normal({4}, 2);
  const auto function = [&](const std::vector<at::Tensor>& in) {
    ++calls;
    return std::vector<at::Tensor>{in[0] * weight, in[0]};
  };
  const std::vector<at::Tensor> y = recompute(function, {x});
  EXPECT_EQ(calls, 1);
  y[0].sum().backward();
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(at::equal(weight.grad(), x));
  {
    const at::NoGradGuard no_gradients;
    EXPECT_FALSE(recompute(function, {x})[0].requires_grad());
  }
  // A function without anything to train.
  at::Tensor z = random_normal({4}, 3).requires_grad_(true);
  recompute([](const std::vector<at::Tensor>& in) { return std::vector<at::Tensor>{in[0].detach() * 2}; }, {z})[0]
      .sum()
      .backward();
  EXPECT_FALSE(z.grad().defined());
}

}  // namespace
}  // namespace hedgehog

// What the tests of BERT and ViT share: transformers' gradients, the converted forms, weights to train.
#pragma once

#include "hedgehog/attention/feature_map.h"
#include "hedgehog/base/error.h"
#include "hedgehog/models/encoder.h"
#include "model_support.h"

#include <functional>

namespace hedgehog::testing {

inline SafetensorsFile outputs_of(const std::string& name) {
  return SafetensorsFile(fixture(name) / "outputs.expected");
}

inline AttentionConfig linear_attention(const std::string& map = "hedgehog-softmax") {
  return {.kind = AttentionKind::kLinear, .feature_map = map};
}

/// Attention's weights of all layers moved away from the identity map.
inline void perturb_attention(std::vector<EncoderLayer>& layers) {
  std::uint64_t seed = 50;
  for (EncoderLayer& layer : layers) {
    for (auto& [name, tensor] : layer.attention.parameters()) tensor->add_(random_normal(tensor->sizes(), ++seed) * 0.2);
  }
}

/// Each weight's gradient of `loss` is what `expected` says (gradient.<name>: norm, first 8 values).
inline void expect_gradients(const std::vector<std::pair<std::string, at::Tensor*>>& weights, const SafetensorsFile& expected,
                             const std::function<at::Tensor()>& loss) {
  for (const auto& [name, tensor] : weights) tensor->requires_grad_(true);
  loss().backward();
  int compared = 0;
  for (const auto& [name, tensor] : weights) {
    if (!expected.contains("gradient." + name)) continue;
    ++compared;
    const at::Tensor values = expected.load("gradient." + name);
    ASSERT_TRUE(tensor->grad().defined()) << name;
    const double norm = values[0].item<double>();
    // Gradients that are zero but for rounding (the key's bias: softmax does not see it) are held to an absolute bound.
    EXPECT_NEAR(tensor->grad().norm().item<double>(), norm, 1e-4 * norm + 1e-6) << name;
    const at::Tensor first = tensor->grad().flatten().slice(0, 0, 8);
    EXPECT_LE((first - values.slice(0, 1, 1 + first.size(0))).abs().max().item<double>(), 1e-4 * norm + 1e-6) << name;
  }
  EXPECT_GE(compared, std::ssize(weights) - 3) << "weights that the loss does not see";
}

/// LoRA on every linear, with B set to noise; A, B and attention's weights as leaves.
inline std::vector<at::Tensor> trainable(std::vector<EncoderLayer>& layers) {
  std::vector<at::Tensor> leaves;
  for (EncoderLayer& layer : layers) {
    for (const EncoderLinear& slot : kEncoderLinears) {
      Linear& linear = layer.*slot.member;
      linear.add_lora(2, 4, leaves.size());
      {
        const at::NoGradGuard no_gradients;
        linear.lora_b.copy_(random_normal(linear.lora_b.sizes(), leaves.size()) * 0.1);
      }
      leaves.insert(leaves.end(), {linear.lora_a, linear.lora_b});
    }
    for (auto& [name, tensor] : layer.attention.parameters()) leaves.push_back(tensor->requires_grad_(true));
  }
  return leaves;
}

/// The gradient of `loss` for each leaf against the slope along it.
inline void expect_slopes(const std::vector<at::Tensor>& leaves, const std::function<at::Tensor()>& loss) {
  loss().backward();
  const at::NoGradGuard no_gradients;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    ASSERT_TRUE(leaves[i].grad().defined()) << "leaf " << i;
    const double norm = leaves[i].grad().norm().item<double>();
    ASSERT_GT(norm, 0) << "leaf " << i;
    const at::Tensor direction = leaves[i].grad() / norm;
    const double step = 3e-3 * std::max(1.0, leaves[i].norm().item<double>() / 10);
    leaves[i].add_(direction, step);
    const double above = loss().item<double>();
    leaves[i].add_(direction, -2 * step);
    const double below = loss().item<double>();
    leaves[i].add_(direction, step);
    EXPECT_NEAR((above - below) / (2 * step), norm, 0.05 * norm + 0.02) << "leaf " << i;
  }
}

/// What the Error says that `function` throws; nothing if it throws none.
template <typename Function>
std::string message_of(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace hedgehog::testing

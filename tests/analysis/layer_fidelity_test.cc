// Against NumPy and SciPy (tests/fixtures/analysis/make_fidelity.py).
#include "hedgehog/analysis/layer_fidelity.h"

#include "hedgehog/base/atomic_file.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace hedgehog {
namespace {

void expect_near(const std::string& what, const nlohmann::json& found, const nlohmann::json& expected) {
  if (expected.is_number()) {
    EXPECT_NEAR(found.get<double>(), expected.get<double>(), 1e-5) << what;
    return;
  }
  if (expected.is_array()) {
    ASSERT_EQ(found.size(), expected.size()) << what;
  }
  for (const auto& [key, value] : expected.items()) {
    expect_near(what + "/" + key, found.is_array() ? found.at(std::stoul(key)) : found.at(key), value);
  }
}

void append_numbers(std::vector<float>& values, const nlohmann::json& nested) {
  if (nested.is_number()) return values.push_back(nested.get<float>());
  for (const auto& part : nested) append_numbers(values, part);
}

TEST(LayerFidelity, EveryMeasureEqualsNumPyAndSciPy) {
  const auto fixture =
      nlohmann::json::parse(read_text_file(std::string(HEDGEHOG_SOURCE_DIR) + "/tests/fixtures/analysis/fidelity.json"));
  const auto tensor = [&](const std::string& name, at::IntArrayRef shape) {
    std::vector<float> values;
    append_numbers(values, fixture.at("input").at(name));
    return at::tensor(values).view(shape);
  };
  constexpr std::int64_t kHeads = 2, kLength = 32, kDim = 4;
  const AttentionInput input{
      tensor("q", {1, kHeads, kLength, kDim}), tensor("k", {1, 1, kLength, kDim}), tensor("v", {1, 1, kLength, kDim}), {}, {}};
  AttentionConfig hybrid{.kind = AttentionKind::kHybrid};
  hybrid.window = fixture.at("window");
  hybrid.sinks = fixture.at("sinks");
  for (const AttentionConfig& config : {AttentionConfig{.kind = AttentionKind::kLinear}, hybrid}) {
    Attention attention(config, kHeads, 1, kDim, kDim);
    for (const auto& [name, weight] : attention.parameters()) {
      at::NoGradGuard no_grad;
      weight->copy_(tensor(name, weight->sizes()));
    }
    LayerFidelity layer(0, attention, 0);
    layer.add(input);
    const std::string kind = to_string(config.kind);
    const nlohmann::json& expected = fixture.at(kind);
    ASSERT_GT(expected.at(0).at("kl").get<double>(), 0.05);
    expect_near(kind, to_json(layer.heads()), expected);
  }
}

}  // namespace
}  // namespace hedgehog

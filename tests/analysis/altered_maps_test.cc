#include "hedgehog/analysis/altered_maps.h"

#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/base/error.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace hedgehog {
namespace {

using testing::error_of;

constexpr std::int64_t kQueryHeads = 4, kGroups = 2, kWidth = 16, kKeys = 40;
// Larger than a trained map, so that the weights are spiky and in the order of q·k.
constexpr double kSpiky = 2;

Attention spiky_attention() {
  Attention attention({.kind = AttentionKind::kLinear}, kQueryHeads, kGroups, kWidth, /*hidden=*/kWidth);
  for (const auto& [name, tensor] : attention.parameters()) tensor->mul_(kSpiky);
  return attention;
}

AttentionInput input() {
  at::manual_seed(5);
  AttentionInput rows;
  rows.k = at::randn({1, kGroups, kKeys, kWidth});
  rows.q = rows.k.repeat_interleave(kQueryHeads / kGroups, 1) + 0.3 * at::randn({1, kQueryHeads, kKeys, kWidth});
  rows.v = at::randn({1, kGroups, kKeys, kWidth});
  rows.x = at::randn({1, kKeys, kWidth});
  return rows;
}

struct Measured {
  double entropy = 0;
  double own = 0;  // mean weight of the row's own key, whose q·k is the largest
};

Measured measured(const std::string& alteration) {
  Attention attention = spiky_attention();
  if (!alteration.empty()) alter_maps(attention, map_alteration(alteration), 7);
  const at::Tensor weights = attention_weights(attention, input(), {kKeys - 1}).weights.to(at::kFloat);
  return {-(weights * weights.clamp_min(1e-12).log()).sum(-1).mean().item<double>(),
          weights.select(-1, kKeys - 1).mean().item<double>()};
}

TEST(AlteredMaps, TemperatureMovesTheSpikesAlone) {
  const Measured before = measured("");
  EXPECT_LT(measured("temperature=2").entropy, before.entropy - 0.3);
  EXPECT_GT(measured("temperature=0.5").entropy, before.entropy + 0.3);
  EXPECT_GT(measured("temperature=0.5").own, 1.5 / kKeys);  // still the largest
  EXPECT_NEAR(measured("temperature=0").entropy, std::log(static_cast<double>(kKeys)), 1e-5);
}

TEST(AlteredMaps, PermutedRowsAreSpikyForOtherKeys) {
  const Measured before = measured(""), after = measured("permuted=1");
  EXPECT_NEAR(after.entropy, before.entropy, 0.6);
  EXPECT_LT(after.own, before.own / 3);
  const double half = measured("permuted=0.5").own;
  EXPECT_LT(half, before.own);
  EXPECT_GT(half, after.own);
}

TEST(AlteredMaps, NoiseIsOfTheWeightsOwnSizeAndOfTheSeed) {
  const auto noisy = [](std::uint64_t seed) {
    Attention attention = spiky_attention();
    alter_maps(attention, map_alteration("noise=0.5"), seed);
    return attention.parameters()[0].second->clone();
  };
  const at::Tensor before = *spiky_attention().parameters()[0].second;
  const double size = (noisy(1) - before).square().mean().sqrt().item<double>();
  EXPECT_NEAR(size, 0.5 * before.square().mean().sqrt().item<double>(), 0.05 * size);
  EXPECT_TRUE(at::equal(noisy(1), noisy(1)));
  EXPECT_FALSE(at::equal(noisy(1), noisy(2)));
}

TEST(AlteredMaps, SoftmaxStaysAndMapsWithoutWeightsAreRefused) {
  Attention softmax({}, kQueryHeads, kGroups, kWidth, kWidth);
  alter_maps(softmax, map_alteration("noise=1"), 1);
  Attention elu({.kind = AttentionKind::kLinear, .feature_map = "elu"}, kQueryHeads, kGroups, kWidth, kWidth);
  EXPECT_EQ(error_of([&] { alter_maps(elu, {}, 1); }), "feature map \"elu\" learns no weights: there is nothing to alter");
}

TEST(AlteredMaps, TextIsReadOrRefused) {
  const MapAlteration read = map_alteration("temperature=2,permuted=0.25,noise=1e-1");
  EXPECT_EQ(read.temperature, 2);
  EXPECT_EQ(read.permuted, 0.25);
  EXPECT_EQ(read.noise, 0.1);
  for (const char* wrong : {"heat=2", "temperature", "temperature=", "temperature=x", "noise=-1", "permuted=1.5", "noise=inf",
                            "noise=1 ", "noise=1,,permuted=1"}) {
    EXPECT_NE(error_of([&] { map_alteration(wrong); }).find("expected temperature=X"), std::string::npos) << wrong;
  }
}

}  // namespace
}  // namespace hedgehog

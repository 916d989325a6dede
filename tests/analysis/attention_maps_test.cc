#include "hedgehog/analysis/attention_maps.h"

#include "hedgehog/analysis/report_page.h"
#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/base/error.h"
#include "tests/inference/tiny_model.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <cmath>
#include <numeric>

namespace hedgehog {
namespace {

using testing::error_of;
using testing::tiny_model;

AttentionConfig linear_attention() {
  AttentionConfig config;
  config.kind = AttentionKind::kLinear;
  return config;
}

TEST(AttentionMaps, AreTheWeightsOfBothSides) {
  constexpr std::int64_t kTokens = 9;
  const Decoder model = tiny_model(linear_attention());
  std::vector<std::int32_t> tokens(kTokens);
  std::iota(tokens.begin(), tokens.end(), 60);
  const AttentionMaps maps = attention_maps(model, tokens);
  ASSERT_EQ(maps.heads.size(), 8u);
  EXPECT_TRUE(maps.causal);
  Decoder shared = model;
  std::vector<std::int64_t> rows(kTokens);
  std::iota(rows.begin(), rows.end(), 0);
  const at::NoGradGuard no_gradients;
  std::size_t looked_at = 0;
  model.forward_visiting(
      at::arange(60, 60 + kTokens).unsqueeze(0), {}, true, [&](std::int64_t layer, const AttentionInput& input) {
        const Attention& attention = shared.layers()[static_cast<std::size_t>(layer)].attention;
        const at::Tensor p = attention_weights(attention.with_config({}), input, rows).weights.to(at::kFloat),
                         a = attention_weights(attention, input, rows).weights.to(at::kFloat);
        for (std::int64_t head = 0; head < 4; ++head) {
          const HeadMap& map = maps.heads[looked_at++];
          EXPECT_EQ(map.layer, layer);
          EXPECT_EQ(map.head, head);
          ASSERT_EQ(map.linear.size(), static_cast<std::size_t>(kTokens * (kTokens + 1) / 2));
          std::size_t place = 0;
          for (std::int64_t row = 0; row < kTokens; ++row) {
            double entropy = 0;
            for (std::int64_t key = 0; key <= row; ++key, ++place) {
              const double weight = p[0][head][row][key].item<double>();
              entropy -= weight * std::log(weight);
              // Half a step of the root's scale, at a weight of 1 the widest: 2 · 0.5 / 127.
              EXPECT_NEAR(std::pow(map.softmax[place] / 127.0, 2), weight, 0.008);
              EXPECT_NEAR(std::pow(map.linear[place] / 127.0, 2), a[0][head][row][key].item<double>(), 0.008);
            }
            EXPECT_NEAR(map.entropy_softmax[static_cast<std::size_t>(row)], entropy, 1e-5);
          }
          EXPECT_NE(map.softmax, map.linear);
        }
      });
  EXPECT_EQ(looked_at, 8u);
}

TEST(AttentionMaps, AreBase64InJson) {
  AttentionMaps maps;
  maps.tokens = 2;
  maps.heads = {{0, 0, {127, 64, -1}, {1, 2, 3}, {0, 0.5}, {0, 0.25}}};
  const nlohmann::json json = to_json(maps, {"a", "b"});
  EXPECT_EQ(json["heads"][0]["softmax"], "f0D/");
  EXPECT_EQ(json["heads"][0]["linear"], "AQID");
  EXPECT_EQ(json["labels"], nlohmann::json({"a", "b"}));
}

TEST(AttentionMaps, NeedAToken) {
  EXPECT_NE(error_of([] { attention_maps(tiny_model(linear_attention()), {}); }).find("at least 1 token"), std::string::npos);
}

TEST(ReportPage, HoldsItsDataRoundedAndNothingOfItAsMarkup) {
  const std::string page = report_page({{"title", "</script><script>alert(1)</script>"},
                                        {"subtitle", "bytes \xff that are no text"},
                                        {"models", nlohmann::json::array()},
                                        {"figure", 0.123456789}});
  EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
  EXPECT_NE(page.find("\\u003c/script>\\u003cscript>alert(1)"), std::string::npos);
  EXPECT_NE(page.find("\"figure\":0.1235,"), std::string::npos);
  EXPECT_NE(page.find("vegaEmbed"), std::string::npos);
  EXPECT_EQ(page.find("{{"
                      "script}}"),
            std::string::npos);
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
}

}  // namespace
}  // namespace hedgehog

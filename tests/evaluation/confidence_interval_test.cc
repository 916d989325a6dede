// Against scipy (tests/fixtures/evaluation/make_metrics.py).
#include "hedgehog/evaluation/confidence_interval.h"

#include "hedgehog/base/error.h"
#include "tests/evaluation/metrics_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace hedgehog {
namespace {

TEST(ConfidenceInterval, StudentsTEqualsScipys) {
  const nlohmann::json cases = testing::metrics_fixture("student_t");
  for (const nlohmann::json& each : cases) {
    const double confidence = each[0], expected = each[2];
    const std::int64_t degrees = each[1];
    EXPECT_NEAR(student_t(confidence, degrees) / expected, 1, 1e-9) << confidence << " " << degrees;
  }
  EXPECT_GE(cases.size(), 70u);
}

TEST(ConfidenceInterval, OfAFewSeedsEqualsScipys) {
  const nlohmann::json cases = testing::metrics_fixture("mean_interval");
  for (const nlohmann::json& each : cases) {
    const std::vector<double> values = each["values"];
    const MeanInterval interval = mean_interval(values);
    EXPECT_NEAR(interval.mean, each["mean"].get<double>(), 1e-12);
    ASSERT_TRUE(interval.half_width.has_value());
    EXPECT_NEAR(*interval.half_width / each["half_width"].get<double>(), 1, 1e-9);
    EXPECT_EQ(interval.count, std::ssize(values));
  }
  EXPECT_GE(cases.size(), 4u);
}

TEST(ConfidenceInterval, OneSeedHasNone) {
  const MeanInterval interval = mean_interval(std::vector<double>{58.8});
  EXPECT_EQ(interval.mean, 58.8);
  EXPECT_FALSE(interval.half_width.has_value());
  EXPECT_EQ(*mean_interval(std::vector<double>{2, 2, 2}).half_width, 0);
}

TEST(ConfidenceInterval, BootstrapsIsBetweenTheQuantilesOfTheResamples) {
  double calls = 0;
  const auto count_up = [&](std::span<const std::size_t> drawn) {
    EXPECT_EQ(drawn.size(), 5u);
    for (const std::size_t index : drawn) EXPECT_LT(index, 5u);
    const double value = calls++;
    return std::vector<double>{value, -2 * value, 7};
  };
  // 0 … 1000: 25 and 975 are its quantiles; of 0 … 10 2.5 and 7.5 for a confidence of a half.
  EXPECT_EQ(bootstrap_half_widths(5, count_up, 0.95, 1001), (std::vector<double>{475, 950, 0}));
  calls = 0;
  EXPECT_EQ(bootstrap_half_widths(5, count_up, 0.5, 11), (std::vector<double>{2.5, 5, 0}));
}

TEST(ConfidenceInterval, BootstrapsOfAMeanIsTheNormalOne) {
  const std::size_t examples = 800;
  const auto share_below_200 = [](std::span<const std::size_t> drawn) {
    const auto found = std::count_if(drawn.begin(), drawn.end(), [](std::size_t index) { return index < 200; });
    return std::vector<double>{static_cast<double>(found) / static_cast<double>(drawn.size())};
  };
  const double half_width = bootstrap_half_widths(examples, share_below_200).front();
  EXPECT_NEAR(half_width / (1.96 * std::sqrt(0.25 * 0.75 / examples)), 1, 0.07);
  EXPECT_EQ(bootstrap_half_widths(examples, share_below_200).front(), half_width) << "the same draws each time";
}

TEST(ConfidenceInterval, SenselessArgumentsAreErrors) {
  EXPECT_THROW(mean_interval(std::vector<double>{}), Error);
  const auto none = [](std::span<const std::size_t>) { return std::vector<double>(); };
  EXPECT_THROW(bootstrap_half_widths(0, none), Error);
  EXPECT_THROW(bootstrap_half_widths(3, none, 0.95, 1), Error);
  EXPECT_THROW(bootstrap_half_widths(3, none, 95), Error);
  EXPECT_THROW(student_t(0.95, 0), Error);
  for (const double confidence : {0.0, 1.0, -0.5, 95.0}) EXPECT_THROW(student_t(confidence, 3), Error);
}

}  // namespace
}  // namespace hedgehog

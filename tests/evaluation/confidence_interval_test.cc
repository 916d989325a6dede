// Against scipy (tests/fixtures/evaluation/make_metrics.py).
#include "hedgehog/evaluation/confidence_interval.h"

#include "hedgehog/base/error.h"
#include "tests/evaluation/metrics_fixture.h"

#include <gtest/gtest.h>

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

TEST(ConfidenceInterval, SenselessArgumentsAreErrors) {
  EXPECT_THROW(mean_interval(std::vector<double>{}), Error);
  EXPECT_THROW(student_t(0.95, 0), Error);
  for (const double confidence : {0.0, 1.0, -0.5, 95.0}) EXPECT_THROW(student_t(confidence, 3), Error);
}

}  // namespace
}  // namespace hedgehog

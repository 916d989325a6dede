// Against scipy (tests/fixtures/evaluation/make_metrics.py).
#include "hedgehog/evaluation/correlation.h"

#include "hedgehog/base/error.h"
#include "tests/evaluation/metrics_fixture.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

TEST(AverageRanks, TiesShareTheirMean) {
  EXPECT_EQ(average_ranks(std::vector<double>{10, 20, 20, 5}), (std::vector<double>{2, 3.5, 3.5, 1}));
  EXPECT_EQ(average_ranks(std::vector<double>{7, 7, 7}), (std::vector<double>{2, 2, 2}));
  EXPECT_TRUE(average_ranks(std::vector<double>{}).empty());
}

TEST(Correlation, EqualsScipy) {
  const nlohmann::json cases = testing::metrics_fixture("correlation");
  for (const nlohmann::json& each : cases) {
    const std::vector<double> x = each["x"], y = each["y"];
    // 1e9 + 1e-3·x has seven digits of x left: the order of the sums shows.
    const double tolerance = y[0] > 1e8 ? 1e-8 : 1e-14;
    EXPECT_NEAR(pearson(x, y), each["pearson"].get<double>(), tolerance);
    EXPECT_NEAR(pearson(y, x), each["pearson"].get<double>(), tolerance);
    EXPECT_NEAR(spearman(x, y), each["spearman"].get<double>(), 1e-14);
    EXPECT_DOUBLE_EQ(inverted_pairs(x, y), each["inverted_pairs"].get<double>());
  }
  EXPECT_GE(cases.size(), 8u);
}

TEST(Spearman, SeesOrderOnly) {
  const std::vector<double> x = {0.1, 0.5, -3, 8};
  EXPECT_DOUBLE_EQ(spearman(x, std::vector<double>{1, 2, 0, 1e30}), 1);
  EXPECT_DOUBLE_EQ(spearman(x, std::vector<double>{-1, -2, 0, -1e30}), -1);
}

// scipy.stats.spearmanr documents the first; the others are Pearson of average ranks by numpy.
TEST(Spearman, EqualsReferenceWithTies) {
  EXPECT_NEAR(spearman(std::vector<double>{1, 2, 3, 4, 5}, std::vector<double>{5, 6, 7, 8, 7}), 0.8207826816681233, 1e-15);
  EXPECT_NEAR(spearman(std::vector<double>{1, 2, 2, 3, 3, 3, 9}, std::vector<double>{4, 1, 1, 8, 0, 8, 2}), 0.13338778844417354,
              1e-14);
  EXPECT_NEAR(spearman(std::vector<double>{3, 1, 4, 1, 5, 9, 2, 6}, std::vector<double>{2, 7, 1, 8, 2, 8, 1, 8}),
              0.19885368120992464, 1e-14);
}

TEST(Correlation, AConstantAgreesWithNothing) {
  for (const auto& correlation : {pearson, spearman}) {
    EXPECT_EQ(correlation(std::vector<double>{1, 1, 1}, std::vector<double>{1, 2, 3}), 0);
    EXPECT_EQ(correlation(std::vector<double>{1, 2, 3}, std::vector<double>{0.1, 0.1, 0.1}), 0);
    EXPECT_EQ(correlation(std::vector<double>{1}, std::vector<double>{2}), 0);
    EXPECT_EQ(correlation(std::vector<double>{}, std::vector<double>{}), 0);
  }
}

TEST(InvertedPairs, CountsThoseThatAreTiedInNeither) {
  const std::vector<double> x = {1, 2, 2, 3};
  EXPECT_EQ(inverted_pairs(x, x), 0);
  EXPECT_EQ(inverted_pairs(x, std::vector<double>{9, 8, 7, 1}), 1);
  EXPECT_DOUBLE_EQ(inverted_pairs(x, std::vector<double>{5, 6, 7, 5}), 0.5);  // of four pairs two
  EXPECT_EQ(inverted_pairs(x, std::vector<double>{1, 1, 1, 1}), 0);
  EXPECT_EQ(inverted_pairs(std::vector<double>{}, std::vector<double>{}), 0);
  EXPECT_THROW(inverted_pairs(x, std::vector<double>{1}), Error);
}

TEST(Correlation, DifferentLengthsAreAnError) {
  EXPECT_THROW(pearson(std::vector<double>{1, 2}, std::vector<double>{1}), Error);
  EXPECT_THROW(spearman(std::vector<double>{1, 2}, std::vector<double>{1}), Error);
}

}  // namespace
}  // namespace hedgehog

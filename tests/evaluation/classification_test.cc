// Against scikit-learn (tests/fixtures/evaluation/make_metrics.py).
#include "hedgehog/evaluation/classification.h"

#include "tests/evaluation/metrics_fixture.h"

#include "hedgehog/base/error.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

TEST(Classification, EqualsScikitLearn) {
  int with_f1 = 0;
  const nlohmann::json cases = testing::metrics_fixture("classification");
  for (const nlohmann::json& each : cases) {
    const std::vector<std::int64_t> labels = each["labels"], predictions = each["predictions"];
    EXPECT_DOUBLE_EQ(accuracy(predictions, labels), each["accuracy"].get<double>());
    EXPECT_NEAR(matthews_correlation(predictions, labels), each["matthews"].get<double>(), 1e-14);
    if (!each.contains("f1")) continue;
    EXPECT_DOUBLE_EQ(f1_score(predictions, labels), each["f1"].get<double>());
    ++with_f1;
  }
  EXPECT_GE(with_f1, 8);
}

TEST(Classification, ListsThatDontMatchAreErrors) {
  const std::vector<std::int64_t> none, one = {1}, two = {0, 1};
  for (const auto& score : {accuracy, f1_score, matthews_correlation}) {
    EXPECT_THROW(score(one, two), Error);
    EXPECT_THROW(score(none, none), Error);
  }
}

}  // namespace
}  // namespace hedgehog

#include "hedgehog/evaluation/glue_score.h"

#include "hedgehog/base/error.h"
#include "hedgehog/evaluation/classification.h"
#include "hedgehog/evaluation/correlation.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using Metrics = std::vector<std::pair<std::string, double>>;

TEST(GlueScore, EachTaskHasItsMetricsAndTheirMean) {
  const std::vector<double> predictions = {1, 0, 1, 1, 0}, labels = {1, 1, 1, 0, 0};
  EXPECT_EQ(glue_score(glue_task("SST-2"), predictions, labels).metrics, (Metrics{{"accuracy", 0.6}}));
  const GlueScore pair = glue_score(glue_task("MRPC"), predictions, labels);
  ASSERT_EQ(pair.metrics.size(), 2u);
  EXPECT_EQ(pair.metrics[0].first, "accuracy");
  EXPECT_EQ(pair.metrics[1].first, "f1");
  EXPECT_DOUBLE_EQ(pair.metrics[1].second, 2.0 / 3);
  EXPECT_DOUBLE_EQ(pair.mean, (0.6 + 2.0 / 3) / 2);
  const GlueScore matthews = glue_score(glue_task("CoLA"), predictions, labels);
  EXPECT_EQ(matthews.metrics[0].first, "matthews");
  EXPECT_DOUBLE_EQ(matthews.mean, 1.0 / 6);  // (2·1 - 1·1) / sqrt(3·3·2·2)
}

TEST(GlueScore, RegressionIsCorrelation) {
  const std::vector<double> predictions = {0.5, 2.25, 3, 7}, labels = {0, 2.5, 3.1, 4.9};
  const GlueScore score = glue_score(glue_task("STS-B"), predictions, labels);
  EXPECT_EQ(score.metrics, (Metrics{{"pearson", pearson(predictions, labels)}, {"spearman", spearman(predictions, labels)}}));
  EXPECT_LT(score.metrics[0].second, 0.99);
  EXPECT_DOUBLE_EQ(score.metrics[1].second, 1);
}

TEST(GlueScore, WhatIsNoClassIsAnError) {
  const std::vector<double> labels = {1, 0};
  for (const std::vector<double>& predictions : {std::vector<double>{1, 2}, {0.5, 1}, {-1, 0}, {1}}) {
    EXPECT_THROW(glue_score(glue_task("SST-2"), predictions, labels), Error);
  }
  EXPECT_THROW(glue_score(glue_task("SST-2"), std::vector<double>{}, std::vector<double>{}), Error);
  EXPECT_NO_THROW(glue_score(glue_task("MNLI"), std::vector<double>{1, 2}, labels));
}

}  // namespace
}  // namespace hedgehog

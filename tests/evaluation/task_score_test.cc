#include "hedgehog/evaluation/task_score.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace hedgehog {
namespace {

Task generated(const char* name, std::int64_t length, std::int64_t examples) {
  TaskConfig config;
  config.name = name;
  config.length = length;
  config.training = 2;
  config.evaluation = examples;
  return open_task(config, nullptr);
}

// Three of four examples are told right.
at::Tensor mostly_right(const Task& task) {
  const std::vector<double> labels = task.evaluation->labels();
  const at::Tensor logits = at::zeros({std::ssize(labels), task.labels});
  for (std::int64_t i = 0; i < std::ssize(labels); ++i) {
    const auto label = static_cast<std::int64_t>(labels[static_cast<std::size_t>(i)]);
    logits[i][i % 4 == 3 ? (label + 1) % task.labels : label] = 1;
  }
  return logits;
}

TEST(TaskScore, OfAGeneratedTaskIsItsAccuracy) {
  const Task task = generated("pathfinder", 16, 80);
  const TaskScore score = task_score(task, mostly_right(task));
  EXPECT_EQ(score.metrics, (std::map<std::string, double>{{"accuracy", 0.75}}));
  EXPECT_EQ(score.mean, 0.75);
  ASSERT_EQ(score.half_intervals.size(), 2u);
  EXPECT_NEAR(score.half_intervals.at("score") / (1.96 * std::sqrt(0.75 * 0.25 / 80)), 1, 0.1);
  EXPECT_EQ(score.half_intervals.at("accuracy"), score.half_intervals.at("score"));
}

TEST(TaskScore, OfAGlueTaskHasEachMetricsInterval) {
  Task task;
  task.name = "mrpc";
  task.labels = 2;
  auto examples = std::make_unique<TokenExamples>(/*classes=*/true, /*padding_token=*/0);
  const std::vector<std::int32_t> tokens = {1, 2};
  for (int i = 0; i < 60; ++i) examples->add(tokens, {}, i % 3 == 0 ? 0 : 1);
  task.evaluation = std::move(examples);
  const TaskScore score = task_score(task, mostly_right(task));
  EXPECT_EQ(score.metrics.at("accuracy"), 0.75);
  EXPECT_EQ(score.mean, (score.metrics.at("accuracy") + score.metrics.at("f1")) / 2);
  const double accuracy = score.half_intervals.at("accuracy"), f1 = score.half_intervals.at("f1");
  EXPECT_NEAR(accuracy / (1.96 * std::sqrt(0.75 * 0.25 / 60)), 1, 0.1);
  EXPECT_GT(f1, 0);
  EXPECT_NE(f1, accuracy);
  EXPECT_GT(score.half_intervals.at("score"), std::min(f1, accuracy)) << "the two rise and fall together";
}

TEST(TaskScore, WhatIsAlwaysRightHasNoError) {
  const Task task = generated("listops", 64, 12);
  const std::vector<double> labels = task.evaluation->labels();
  const at::Tensor right = at::one_hot(at::tensor(std::vector<std::int64_t>(labels.begin(), labels.end())), task.labels);
  const TaskScore score = task_score(task, right);
  EXPECT_EQ(score.mean, 1);
  EXPECT_EQ(score.half_intervals.at("score"), 0);
}

}  // namespace
}  // namespace hedgehog

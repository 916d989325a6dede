#include "hedgehog/training/schedule.h"

#include "hedgehog/base/error.h"

#include <gtest/gtest.h>

#include <cmath>

namespace hedgehog {
namespace {

TEST(Schedule, WarmsUpThenFallsAlongACosine) {
  EXPECT_DOUBLE_EQ(warmup_cosine(0, 101, 4), 0.25);
  EXPECT_DOUBLE_EQ(warmup_cosine(3, 101, 4), 1);
  EXPECT_DOUBLE_EQ(warmup_cosine(4, 105, 4), 1);
  EXPECT_NEAR(warmup_cosine(54, 105, 4), 0.5, 1e-12);
  EXPECT_NEAR(warmup_cosine(104, 105, 4), 0, 1e-12);
  EXPECT_NEAR(warmup_cosine(104, 105, 4, 0.1), 0.1, 1e-12);
  EXPECT_DOUBLE_EQ(warmup_cosine(0, 1, 0), 1);
}

// Values of torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=100).
TEST(Schedule, OneCycleIsPyTorchs) {
  EXPECT_NEAR(one_cycle(0, 100), 0.04, 1e-12);
  EXPECT_NEAR(one_cycle(29, 100), 1, 1e-12);
  EXPECT_NEAR(one_cycle(14, 100), 0.4940133239, 1e-9);
  EXPECT_NEAR(one_cycle(64, 100), 0.500002, 1e-9);
  EXPECT_NEAR(one_cycle(99, 100), 4e-6, 1e-12);
  for (std::int64_t steps = 1; steps < 5; ++steps) {
    for (std::int64_t step = 0; step < steps; ++step) EXPECT_TRUE(std::isfinite(one_cycle(step, steps)));
  }
}

TEST(Schedule, HasNames) {
  for (const char* name : {"constant", "cosine", "one-cycle"}) EXPECT_EQ(to_string(schedule(name)), name);
  EXPECT_THROW(schedule("linear"), Error);
  EXPECT_DOUBLE_EQ(learning_rate_factor(Schedule::kConstant, 1, 10, 4), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_factor(Schedule::kConstant, 9, 10, 4), 1);
}

}  // namespace
}  // namespace hedgehog

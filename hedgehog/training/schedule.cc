#include "hedgehog/training/schedule.h"

#include "hedgehog/base/error.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hedgehog {
namespace {

/// From `start` to `end` along half a cosine while `share` goes from 0 to 1.
double half_cosine(double start, double end, double share) {
  return end + (start - end) * 0.5 * (1 + std::cos(std::numbers::pi * std::clamp(share, 0.0, 1.0)));
}

}  // namespace

double warmup_cosine(std::int64_t step, std::int64_t steps, std::int64_t warmup, double floor) {
  if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
  const std::int64_t falling = std::max<std::int64_t>(steps - 1 - warmup, 1);
  return half_cosine(1, floor, static_cast<double>(step - warmup) / static_cast<double>(falling));
}

double one_cycle(std::int64_t step, std::int64_t steps) {
  constexpr double kStart = 1.0 / 25, kEnd = kStart / 1e4;
  const double peak = std::max(0.3 * static_cast<double>(steps) - 1, 1e-9), last = static_cast<double>(steps) - 1;
  const double at = static_cast<double>(step);
  if (at <= peak) return half_cosine(kStart, 1, at / peak);
  return half_cosine(1, kEnd, (at - peak) / std::max(last - peak, 1e-9));
}

Schedule schedule(const std::string& name) {
  for (const Schedule candidate : {Schedule::kConstant, Schedule::kCosine, Schedule::kOneCycle}) {
    if (to_string(candidate) == name) return candidate;
  }
  fail("schedule: expected constant, cosine or one-cycle, found '{}'", name);
}

std::string to_string(Schedule schedule) {
  switch (schedule) {
    case Schedule::kConstant:
      return "constant";
    case Schedule::kCosine:
      return "cosine";
    case Schedule::kOneCycle:
      return "one-cycle";
  }
  fail("schedule {} is unknown", static_cast<int>(schedule));
}

double learning_rate_factor(Schedule schedule, std::int64_t step, std::int64_t steps, std::int64_t warmup) {
  switch (schedule) {
    case Schedule::kConstant:
      return step < warmup ? static_cast<double>(step + 1) / static_cast<double>(warmup) : 1;
    case Schedule::kCosine:
      return warmup_cosine(step, steps, warmup);
    case Schedule::kOneCycle:
      return one_cycle(step, steps);
  }
  fail("schedule {} is unknown", static_cast<int>(schedule));
}

}  // namespace hedgehog

// Learning rates as pure functions of the step: what share of the full rate the optimizer step `step` (from 0) takes.
#pragma once

#include <cstdint>
#include <string>

namespace hedgehog {

/// Linear warm-up over `warmup` steps (the first takes 1/warmup), then half a cosine down to `floor` at the last step.
double warmup_cosine(std::int64_t step, std::int64_t steps, std::int64_t warmup, double floor = 0);

/// The one-cycle policy (arXiv 1708.07120): half a cosine from 1/25 up to 1 over the first 30 %, then down to 1/250,000.
double one_cycle(std::int64_t step, std::int64_t steps);

enum class Schedule { kConstant, kCosine, kOneCycle };

/// "constant", "cosine", "one-cycle". Throws Error for any other name.
Schedule schedule(const std::string& name);
std::string to_string(Schedule schedule);

/// warm-up is used by all but one-cycle, which has its own.
double learning_rate_factor(Schedule schedule, std::int64_t step, std::int64_t steps, std::int64_t warmup);

}  // namespace hedgehog

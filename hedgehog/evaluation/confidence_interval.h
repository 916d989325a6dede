// The mean of a few runs with different seeds, and how far it can be trusted (Student's t).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace hedgehog {

struct MeanInterval {
  double mean = 0;
  std::optional<double> half_width;  // the interval is mean ± half_width; none for a single value, which tells nothing of it
  std::int64_t count = 0;
};

/// Of values taken to be normal, with unknown variance: half_width = t · s / sqrt(n). Throws Error for no values and for a
/// confidence that is not between 0 and 1.
MeanInterval mean_interval(std::span<const double> values, double confidence = 0.95);

/// The t with P(|T| <= t) = `confidence` for Student's T of `degrees` >= 1 degrees of freedom.
double student_t(double confidence, std::int64_t degrees);

}  // namespace hedgehog

// How far a figure can be trusted: the mean of a few runs with different seeds (Student's t), a score of a few examples
// (bootstrap).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

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

/// Statistics of the examples whose indices are given; each index may come several times, or never. As many on every call.
using Statistics = std::function<std::vector<double>(std::span<const std::size_t>)>;

/// For each of `statistics` of `examples` examples: half of the distance between the (1 ± confidence)/2 quantiles over
/// `resamples` draws of as many examples with replacement (Efron's percentile interval). The same on every machine. Throws
/// Error for no examples, fewer than two resamples, and for a confidence that is not between 0 and 1.
std::vector<double> bootstrap_half_widths(std::size_t examples, const Statistics& statistics, double confidence = 0.95,
                                          std::int64_t resamples = 1000);

}  // namespace hedgehog

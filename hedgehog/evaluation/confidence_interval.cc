#include "hedgehog/evaluation/confidence_interval.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hedgehog {
namespace {

/// P(|T| <= sqrt(degrees) · tan(angle)): Abramowitz and Stegun 26.7.3 and 26.7.4, finite sums for whole degrees of freedom.
double probability_within(double angle, std::int64_t degrees) {
  const double cosine = std::cos(angle), sine = std::sin(angle);
  const bool odd = degrees % 2 != 0;
  double term = odd ? cosine : 1.0, sum = degrees == 1 ? 0.0 : term;
  for (std::int64_t i = odd ? 3 : 2; i < degrees; i += 2) {
    term *= cosine * cosine * static_cast<double>(i - 1) / static_cast<double>(i);
    sum += term;
  }
  return odd ? 2 / std::numbers::pi * (angle + sine * sum) : sine * sum;
}

void check_confidence(double confidence) {
  check(confidence > 0 && confidence < 1, "a confidence is between 0 and 1, found {}", confidence);
}

/// Between the two values beside it, of sorted ones: NumPy's quantile.
double quantile(std::span<const double> sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const double next = sorted[std::min(below + 1, sorted.size() - 1)];
  return sorted[below] + (place - static_cast<double>(below)) * (next - sorted[below]);
}

}  // namespace

double student_t(double confidence, std::int64_t degrees) {
  check_confidence(confidence);
  check(degrees >= 1, "Student's t needs at least 1 degree of freedom, found {}", degrees);
  double low = 0, high = std::numbers::pi / 2;
  for (int i = 0; i < 100 && low < high; ++i) {
    const double middle = 0.5 * (low + high);
    (probability_within(middle, degrees) < confidence ? low : high) = middle;
  }
  return std::sqrt(static_cast<double>(degrees)) * std::tan(low);
}

MeanInterval mean_interval(std::span<const double> values, double confidence) {
  check(!values.empty(), "there is no mean of no values");
  MeanInterval interval;
  interval.count = std::ssize(values);
  const auto count = static_cast<double>(values.size());
  for (const double value : values) interval.mean += value / count;
  if (values.size() > 1) {
    double squares = 0;
    for (const double value : values) squares += (value - interval.mean) * (value - interval.mean);
    interval.half_width = student_t(confidence, interval.count - 1) * std::sqrt(squares / (count - 1) / count);
  }
  return interval;
}

std::vector<double> bootstrap_half_widths(std::size_t examples, const Statistics& statistics, double confidence,
                                          std::int64_t resamples) {
  check(examples > 0, "no examples, nothing to draw from");
  check(resamples >= 2, "a bootstrap interval needs at least 2 resamples, found {}", resamples);
  check_confidence(confidence);
  Random random;
  std::vector<std::size_t> drawn(examples);
  std::vector<std::vector<double>> values;  // [statistic][resample]
  for (std::int64_t i = 0; i < resamples; ++i) {
    for (std::size_t& index : drawn) index = random.below(examples);
    const std::vector<double> found = statistics(drawn);
    values.resize(found.size());
    for (std::size_t j = 0; j < found.size(); ++j) values[j].push_back(found[j]);
  }
  std::vector<double> half_widths;
  for (std::vector<double>& of_one : values) {
    std::sort(of_one.begin(), of_one.end());
    half_widths.push_back((quantile(of_one, (1 + confidence) / 2) - quantile(of_one, (1 - confidence) / 2)) / 2);
  }
  return half_widths;
}

}  // namespace hedgehog

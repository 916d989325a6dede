#include "hedgehog/evaluation/confidence_interval.h"

#include "hedgehog/base/error.h"

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

}  // namespace

double student_t(double confidence, std::int64_t degrees) {
  check(confidence > 0 && confidence < 1, "a confidence is between 0 and 1, found {}", confidence);
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

}  // namespace hedgehog

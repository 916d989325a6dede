#include "hedgehog/evaluation/correlation.h"

#include "hedgehog/base/error.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <numeric>

namespace hedgehog {
namespace {

/// The values moved to a mean of 0 and scaled to at most 1, so that no square is lost below a double's range.
std::vector<double> centred(std::span<const double> values) {
  std::vector<double> result(values.begin(), values.end());
  // Twice: the first mean of large values that differ little is itself rounded by much of the difference.
  for (int i = 0; i < 2; ++i) {
    const double mean = std::accumulate(result.begin(), result.end(), 0.0) / static_cast<double>(result.size());
    for (double& value : result) value -= mean;
  }
  double largest = 0;
  for (const double value : result) largest = std::max(largest, std::abs(value));
  for (double& value : result) value /= largest > 0 ? largest : 1;
  return result;
}

bool is_constant(std::span<const double> values) {
  return std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
}

}  // namespace

std::vector<double> average_ranks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return values[i] < values[j]; });
  std::vector<double> ranks(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first + 1;  // one past the values equal to the first
    while (last < order.size() && values[order[last]] == values[order[first]]) ++last;
    const double rank = 0.5 * static_cast<double>(first + 1 + last);
    for (; first < last; ++first) ranks[order[first]] = rank;
  }
  return ranks;
}

double pearson(std::span<const double> a, std::span<const double> b) {
  check(a.size() == b.size(), "a correlation needs two lists of one length, found {} and {} values", a.size(), b.size());
  // Not told by the sums below: the mean of equal values need not be exactly their value.
  if (is_constant(a) || is_constant(b)) return 0;
  const std::vector<double> x = centred(a), y = centred(b);
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += x[i] * y[i];
    xx += x[i] * x[i];
    yy += y[i] * y[i];
  }
  return xx > 0 && yy > 0 ? std::clamp(xy / std::sqrt(xx * yy), -1.0, 1.0) : 0.0;
}

double spearman(std::span<const double> a, std::span<const double> b) {
  check(a.size() == b.size(), "a rank correlation needs two lists of one length, found {} and {} values", a.size(), b.size());
  return pearson(average_ranks(a), average_ranks(b));
}

}  // namespace hedgehog

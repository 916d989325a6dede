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

/// Pairs of equal values in a sorted list.
template <typename Equal>
double tied_pairs(std::size_t count, const Equal& equal) {
  double pairs = 0;
  for (std::size_t first = 0, last = 0; first < count; first = last) {
    while (last < count && equal(first, last)) ++last;
    const auto size = static_cast<double>(last - first);
    pairs += size * (size - 1) / 2;
  }
  return pairs;
}

/// Sorts the values and returns how many pairs were in descending order.
double sort_counting(std::span<double> values, std::vector<double>& merged) {
  if (values.size() < 2) return 0;
  const auto left = values.first(values.size() / 2), right = values.subspan(values.size() / 2);
  double pairs = sort_counting(left, merged) + sort_counting(right, merged);
  merged.clear();
  std::size_t i = 0;
  for (const double value : right) {
    while (i < left.size() && left[i] <= value) merged.push_back(left[i++]);
    pairs += static_cast<double>(left.size() - i);
    merged.push_back(value);
  }
  merged.insert(merged.end(), left.begin() + static_cast<std::ptrdiff_t>(i), left.end());
  std::copy(merged.begin(), merged.end(), values.begin());
  return pairs;
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

double inverted_pairs(std::span<const double> a, std::span<const double> b) {
  check(a.size() == b.size(), "a rank correlation needs two lists of one length, found {} and {} values", a.size(), b.size());
  std::vector<std::size_t> order(a.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // Ties of a in b's order are in no wrong order.
  std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return a[i] != a[j] ? a[i] < a[j] : b[i] < b[j]; });
  const auto count = static_cast<double>(order.size());
  const auto equal_a = [&](std::size_t i, std::size_t j) { return a[order[i]] == a[order[j]]; };
  const double tied_a = tied_pairs(order.size(), equal_a);
  const double tied_both =
      tied_pairs(order.size(), [&](std::size_t i, std::size_t j) { return equal_a(i, j) && b[order[i]] == b[order[j]]; });
  std::vector<double> values, merged;
  for (const std::size_t i : order) values.push_back(b[i]);
  const double inverted = sort_counting(values, merged);
  const double tied_b = tied_pairs(values.size(), [&](std::size_t i, std::size_t j) { return values[i] == values[j]; });
  const double untied = count * (count - 1) / 2 - tied_a - tied_b + tied_both;
  return untied > 0 ? inverted / untied : 0;
}

}  // namespace hedgehog

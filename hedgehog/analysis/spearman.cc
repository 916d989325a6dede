#include "hedgehog/analysis/spearman.h"

#include "hedgehog/base/error.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

namespace hedgehog {

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

double spearman(std::span<const double> a, std::span<const double> b) {
  check(a.size() == b.size(), "a rank correlation needs two lists of one length, found {} and {} values", a.size(), b.size());
  const std::vector<double> x = average_ranks(a), y = average_ranks(b);
  const double mean = 0.5 * static_cast<double>(a.size() + 1);  // of any ranking, ties or not
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0.0;
}

}  // namespace hedgehog

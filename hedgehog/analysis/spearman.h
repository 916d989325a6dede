// Spearman's rank correlation, with average ranks for ties.
#pragma once

#include <span>
#include <vector>

namespace hedgehog {

/// Ranks from 1; equal values share the mean of the ranks that they take up.
std::vector<double> average_ranks(std::span<const double> values);

/// Pearson's correlation of the ranks, in [-1, 1]. 0 when either side is constant or has fewer than two values: no order to
/// agree with. Throws Error for different lengths.
double spearman(std::span<const double> a, std::span<const double> b);

}  // namespace hedgehog

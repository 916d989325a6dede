// Pearson's correlation, and Spearman's: Pearson's of the ranks, with average ranks for ties.
#pragma once

#include <span>
#include <vector>

namespace hedgehog {

/// Ranks from 1; equal values share the mean of the ranks that they take up.
std::vector<double> average_ranks(std::span<const double> values);

/// Both are in [-1, 1], and 0 when either side is constant or has fewer than two values: nothing to agree with. Throw Error for
/// different lengths.
double pearson(std::span<const double> a, std::span<const double> b);
double spearman(std::span<const double> a, std::span<const double> b);

}  // namespace hedgehog

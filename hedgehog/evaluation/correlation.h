// Pearson's correlation, and Spearman's: Pearson's of the ranks, with average ranks for ties. And pairs in the wrong order.
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

/// Share of the pairs of places, tied neither in a nor in b, that a and b put in opposite order: (1 − τ) / 2 for Kendall's τ
/// where nothing is tied. 0 without such a pair. O(n log n). Throws Error for different lengths.
double inverted_pairs(std::span<const double> a, std::span<const double> b);

}  // namespace hedgehog

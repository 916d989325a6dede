// One layer's heads beside softmax, summed over batches.
#pragma once

#include "hedgehog/analysis/head_fidelity.h"
#include "hedgehog/attention/attention.h"

#include <cstdint>
#include <vector>

namespace hedgehog {

/// Softmax as it stood in the place of `attention`. `window`: as many last keys it sees (Mistral), 0: all.
AttentionConfig softmax_like(const Attention& attention, std::int64_t window);

class LayerFidelity {
 public:
  /// `attention` must outlive it. `softmax_window`: as many last keys softmax sees (Mistral), 0: all.
  LayerFidelity(std::int64_t layer, const Attention& attention, std::int64_t softmax_window);

  /// Of each sequence up to 128 query rows are looked at, spread evenly, and 16 of these are ranked.
  void add(const AttentionInput& input);
  /// Means over all that was added, head by head.
  std::vector<HeadFidelity> heads() const;

 private:
  void add_ranks(const AttentionInput& input, const at::Tensor& weights, const std::vector<std::int64_t>& rows);
  void add_curve(const OperatorInput& input, const at::Tensor& p, const at::Tensor& a, const std::vector<std::int64_t>& rows,
                 const at::Tensor& counts);
  void add_ranks_of_states(const OperatorInput& input);

  std::int64_t layer_;
  const Attention& attention_;
  Attention softmax_;
  std::vector<HeadFidelity> sums_;    // over rows
  std::vector<double> error_, norm_;  // per head, of |y − ŷ|² and |y|²
  double rows_ = 0, ranked_rows_ = 0, states_ = 0;
};

}  // namespace hedgehog

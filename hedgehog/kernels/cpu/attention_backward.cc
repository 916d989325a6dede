// Backward of kernels/attention.h. Tiles of weights are recomputed from row_max and inverse_sum. First pass, tiles in order:
// all gradients inside a tile and those of φ(q) through the state. Second pass, tiles in reverse: φ(k) and v through the
// state's gradient.
#include "hedgehog/kernels/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/attention_backward.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/attention_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// One key/value head's backward pass.
class HeadBackward {
 public:
  HeadBackward(const AttentionArguments& arguments, const Strided<const float>& out, const Strided<const float>& dout,
               const float* row_max, const float* inverse_sum, const AttentionGradients& gradients, std::int64_t b,
               std::int64_t g)
      : a_(arguments),
        s_(arguments.shape),
        out_(out),
        dout_(dout),
        row_max_(row_max),
        inverse_sum_(inverse_sum),
        gradients_(gradients),
        decay_memory_(a_.log_gate == nullptr ? 1 : s_.length),
        head_(a_, b, g, decay_memory_.get()),
        exact_(s_.window > 0 || s_.sinks > 0 || all_keys_exact(s_)),
        keys_(exact_ ? s_.length : 1, s_.dim, exact_ ? a_.k.at(b, g) : nullptr, a_.k.row),
        key_features_(s_.features > 0 ? s_.length : 1, most(s_.features, 1), head_.phi_k, head_.phi_k_row),
        values_(s_.length, s_.dim, head_.v, head_.v_row),
        strip_row_(padded((all_keys_exact(s_) ? s_.length : least(s_.length, kTileRows + s_.window)) + s_.sinks)),
        wide_(padded(s_.dim + 1)),
        feature_wide_(padded(most(s_.features, 1))),
        weights_(kTileRows * strip_row_),
        features_(s_.features > 0 ? kTileRows * strip_row_ : 1),
        value_gradients_(kTileRows * strip_row_),
        relative_(strip_row_),
        rows_(kTileRows * wide_),
        state_(most(s_.features, 1) * wide_),
        state_transposed_((s_.dim + 1) * feature_wide_),
        feature_rows_(kTileRows * feature_wide_) {}

  void run() {
    clear(gradients_.k, s_.dim);
    clear(gradients_.v, s_.dim);
    if (s_.features > 0) clear(gradients_.phi_k, s_.features);
    first_pass();
    if (s_.features > 0) second_pass();
  }

 private:
  void clear(const Strided<float>& to, std::int64_t width) {
    if (!to) return;
    for (std::int64_t j = 0; j < s_.length; ++j) fill_row(0, width, to.at(head_.b, head_.g, j));
  }
  std::int64_t group() const { return s_.heads / s_.kv_heads; }
  std::int64_t row_offset(std::int64_t h, std::int64_t i) const { return (head_.b * s_.heads + h) * s_.length + i; }
  float log_scale(std::int64_t h, std::int64_t i) const {
    return a_.row_log_scale == nullptr ? 0 : a_.row_log_scale[row_offset(h, i)];
  }
  // What multiplies φ(q_i) S: exp(ℓ_i − M_i + A_i − A_{n0−1}) / Σ; 0 where the row does not see the state.
  float state_factor(const Tile& tile, std::int64_t h, std::int64_t i) const {
    if (!row_ranges(head_, tile, i).state) return 0;
    const std::int64_t at = row_offset(h, i);
    return std::exp(log_scale(h, i) - row_max_[at] + head_.decay_between(tile.n0 - 1, i)) * inverse_sum_[at];
  }
  float row_dot(std::int64_t h, std::int64_t i) const { return dot(out_.at(head_.b, h, i), dout_.at(head_.b, h, i), s_.dim); }
  // rows_ = state_factor · [dy, −y·dy] of the tile's rows.
  void state_row_gradients(const Tile& tile, std::int64_t h) {
    for (std::int64_t i = tile.t0; i < tile.t1; ++i) {
      float* row = rows_.get() + (i - tile.t0) * wide_;
      const float factor = state_factor(tile, h, i);
      scale_row(dout_.at(head_.b, h, i), s_.dim, factor, false, row);
      row[s_.dim] = -factor * row_dot(h, i);
    }
  }

  // weights_ := normalised weights, value_gradients_ (dy·v on entry) := gradients of scores, features_ := of φ(q)·φ(k).
  void row_gradients(const Tile& tile, std::int64_t h, std::int64_t i) {
    const RowRanges r = row_ranges(head_, tile, i);
    const std::int64_t offset = (i - tile.t0) * strip_row_, near = tile.near_column(), columns = tile.columns();
    float *p = weights_.get() + offset, *dp = value_gradients_.get() + offset,
          *f = features_.get() + (s_.features > 0 ? offset : 0);
    const float top = row_max_[row_offset(h, i)], inverse = inverse_sum_[row_offset(h, i)], delta = row_dot(h, i);
    scale_row(p, columns, s_.scale, false, p);
    const auto exact = [&](std::int64_t begin, std::int64_t end) {
      exponentials(p + begin, end - begin, top, inverse, p + begin);
      // `delta` is subtracted from dp here, so that dp becomes the scores' gradient.
      score_gradients(p + begin, dp + begin, end - begin, delta, s_.scale, dp + begin);
    };
    const auto nothing = [&](float* x, std::int64_t begin, std::int64_t end) { fill_row(0, end - begin, x + begin); };
    exact(0, r.far);
    exact(r.exact_begin, r.linear_begin);
    exact(r.linear_end, r.row_end);
    if (s_.features > 0) {
      const float factor = std::exp(log_scale(h, i) - top) * inverse;
      const std::int64_t count = r.linear_end - r.linear_begin;
      const float* keys = head_.decay == nullptr ? nullptr : relative_.get() + (r.linear_begin - near);
      const float own = head_.decay == nullptr ? 0 : relative_.get()[i - tile.n0];
      linear_weights(f + r.linear_begin, count, keys, own, factor, p + r.linear_begin);
      feature_gradients(dp + r.linear_begin, count, keys, own, delta, factor, f + r.linear_begin);
      nothing(f, near, r.linear_begin);
      nothing(f, r.linear_end, columns);
    } else {
      nothing(p, r.linear_begin, r.linear_end);
    }
    nothing(dp, r.linear_begin, r.linear_end);
    nothing(p, r.far, r.exact_begin);
    nothing(dp, r.far, r.exact_begin);
    nothing(p, r.row_end, columns);
    nothing(dp, r.row_end, columns);
  }

  // to_keys [columns' rows, width] += stripᵀ x over far sinks and near rows.
  void add_to_keys(const Tile& tile, const float* strip, const float* x, std::int64_t x_row, std::int64_t width,
                   const Strided<float>& to) {
    const std::int64_t rows = tile.t1 - tile.t0;
    if (tile.sinks > 0) {
      gemm(tile.sinks, width, rows, strip + tile.prefix, 1, strip_row_, x, x_row, to.at(head_.b, head_.g, tile.sink_begin),
           to.row, Store::kAdd);
    }
    gemm(tile.t1 - tile.n0, width, rows, strip + tile.near_column(), 1, strip_row_, x, x_row, to.at(head_.b, head_.g, tile.n0),
         to.row, Store::kAdd);
  }

  void first_pass() {
    LinearState state{state_.get(), wide_};
    std::memset(state.s, 0, sizeof(float) * static_cast<std::size_t>(most(s_.features, 1) * wide_));
    for (std::int64_t t0 = 0; t0 < s_.length; t0 += kTileRows) {
      const Tile tile = make_tile(head_, t0);
      const std::int64_t rows = tile.t1 - tile.t0, linear_columns = tile.t1 - s_.window - tile.n0;
      if (s_.features > 0) {
        absorb(head_, state, tile.n0, rows_.get());
        if (state.absorbed > 0) transpose(s_.features, s_.dim + 1, state.s, wide_, state_transposed_.get(), feature_wide_);
      }
      tile_decay(head_, tile, relative_.get());
      for (std::int64_t h = head_.g * group(); h < (head_.g + 1) * group(); ++h) {
        const float* dout = dout_.at(head_.b, h, t0);
        if (exact_) tile_products(tile, rows, s_.dim, a_.q.at(head_.b, h, t0), a_.q.row, keys_, weights_.get(), strip_row_);
        if (s_.features > 0 && linear_columns > 0) {
          gemm(rows, linear_columns, s_.features, a_.phi_q.at(head_.b, h, t0), a_.phi_q.row, 1, key_features_.column(tile.n0),
               key_features_.stride, features_.get() + tile.near_column(), strip_row_, Store::kOverwrite);
        }
        tile_products(tile, rows, s_.dim, dout, dout_.row, values_, value_gradients_.get(), strip_row_);
        for (std::int64_t i = tile.t0; i < tile.t1; ++i) row_gradients(tile, h, i);
        add_to_keys(tile, weights_.get(), dout, dout_.row, s_.dim, gradients_.v);
        if (gradients_.q) exact_gradients(tile, h);
        if (s_.features > 0) linear_gradients(tile, h, linear_columns, state.absorbed > 0);
      }
    }
  }

  void exact_gradients(const Tile& tile, std::int64_t h) {
    const std::int64_t rows = tile.t1 - tile.t0;
    float* dq = gradients_.q.at(head_.b, h, tile.t0);
    if (!exact_) {
      for (std::int64_t r = 0; r < rows; ++r) fill_row(0, s_.dim, gradients_.q.at(head_.b, h, tile.t0 + r));
      return;
    }
    gemm(rows, s_.dim, tile.t1 - tile.n0, value_gradients_.get() + tile.near_column(), strip_row_, 1,
         a_.k.at(head_.b, head_.g, tile.n0), a_.k.row, dq, gradients_.q.row, Store::kOverwrite);
    if (tile.sinks > 0) {
      gemm(rows, s_.dim, tile.sinks, value_gradients_.get() + tile.prefix, strip_row_, 1,
           a_.k.at(head_.b, head_.g, tile.sink_begin), a_.k.row, dq, gradients_.q.row, Store::kAdd);
    }
    add_to_keys(tile, value_gradients_.get(), a_.q.at(head_.b, h, tile.t0), a_.q.row, s_.dim, gradients_.k);
  }

  void linear_gradients(const Tile& tile, std::int64_t h, std::int64_t linear_columns, bool has_state) {
    const std::int64_t rows = tile.t1 - tile.t0;
    float* dphi_q = gradients_.phi_q.at(head_.b, h, tile.t0);
    const float* strip = features_.get() + tile.near_column();
    if (linear_columns > 0) {
      gemm(rows, s_.features, linear_columns, strip, strip_row_, 1, head_.phi_k + tile.n0 * head_.phi_k_row, head_.phi_k_row,
           dphi_q, gradients_.phi_q.row, Store::kOverwrite);
      gemm(linear_columns, s_.features, rows, strip, 1, strip_row_, a_.phi_q.at(head_.b, h, tile.t0), a_.phi_q.row,
           gradients_.phi_k.at(head_.b, head_.g, tile.n0), gradients_.phi_k.row, Store::kAdd);
    } else {
      for (std::int64_t r = 0; r < rows; ++r) fill_row(0, s_.features, dphi_q + r * gradients_.phi_q.row);
    }
    if (has_state) {
      state_row_gradients(tile, h);
      gemm(rows, s_.features, s_.dim + 1, rows_.get(), wide_, 1, state_transposed_.get(), feature_wide_, dphi_q,
           gradients_.phi_q.row, Store::kAdd);
    }
  }

  // dS, referenced as the state is, from the last tile to the first; what a tile's rows add comes before the keys that were
  // absorbed on the way to it are given their share.
  void second_pass() {
    float* ds = state_.get();
    std::memset(ds, 0, sizeof(float) * static_cast<std::size_t>(s_.features * wide_));
    const std::int64_t tiles = (s_.length + kTileRows - 1) / kTileRows;
    for (std::int64_t t = tiles - 1; t >= 0; --t) {
      const Tile tile = make_tile(head_, t * kTileRows);
      if (tile.n0 == 0) break;
      for (std::int64_t h = head_.g * group(); h < (head_.g + 1) * group(); ++h) {
        state_row_gradients(tile, h);
        gemm(s_.features, s_.dim + 1, tile.t1 - tile.t0, a_.phi_q.at(head_.b, h, tile.t0), 1, a_.phi_q.row, rows_.get(), wide_,
             ds, wide_, Store::kAdd);
      }
      const std::int64_t before = t > 0 ? make_tile(head_, (t - 1) * kTileRows).n0 : 0;
      give_to_keys(before, tile.n0);
    }
  }

  // The reverse of absorb() over key rows [begin, end): their gradients, then dS back to row begin − 1.
  void give_to_keys(std::int64_t begin, std::int64_t end) {
    float* ds = state_.get();
    for (std::int64_t a1 = end; a1 > begin;) {
      const std::int64_t a0 = most(begin, a1 - kTileRows), start = head_.segment_of(least(a1, s_.length - 1));
      const std::int64_t first = clamp(start + s_.sinks, a0, a1), rows = a1 - first;
      if (rows > 0) {
        transpose(s_.features, s_.dim + 1, ds, wide_, state_transposed_.get(), feature_wide_);
        for (std::int64_t j = first; j < a1; ++j) {
          const float weight = head_.decay == nullptr ? 1.0f : std::exp(head_.decay_between(j, a1 - 1));
          float* row = rows_.get() + (j - first) * wide_;
          scale_row(head_.v + j * head_.v_row, s_.dim, weight, false, row);
          row[s_.dim] = weight;
          scale_row(head_.phi_k + j * head_.phi_k_row, s_.features, weight, false,
                    feature_rows_.get() + (j - first) * feature_wide_);
        }
        gemm(rows, s_.features, s_.dim + 1, rows_.get(), wide_, 1, state_transposed_.get(), feature_wide_,
             gradients_.phi_k.at(head_.b, head_.g, first), gradients_.phi_k.row, Store::kAdd);
        gemm(rows, s_.dim, s_.features, feature_rows_.get(), feature_wide_, 1, ds, wide_,
             gradients_.v.at(head_.b, head_.g, first), gradients_.v.row, Store::kAdd);
      }
      if (start > a0) {
        std::memset(ds, 0, sizeof(float) * static_cast<std::size_t>(s_.features * wide_));
      } else if (head_.decay != nullptr) {
        scale_row(ds, s_.features * wide_, std::exp(head_.decay_between(a0 - 1, a1 - 1)), false, ds);
      }
      a1 = a0;
    }
  }

  const AttentionArguments& a_;
  const AttentionShape& s_;
  const Strided<const float>&out_, &dout_;
  const float *row_max_, *inverse_sum_;
  const AttentionGradients& gradients_;
  Buffer<double> decay_memory_;
  KeyHead head_;
  bool exact_;
  TransposedKeys keys_, key_features_, values_;
  std::int64_t strip_row_, wide_, feature_wide_;
  Buffer<float> weights_, features_, value_gradients_, relative_, rows_, state_, state_transposed_, feature_rows_;
};

void causal_backward(const AttentionArguments& arguments, const Strided<const float>& out, const Strided<const float>& dout,
                     const float* row_max, const float* inverse_sum, const AttentionGradients& gradients, std::int64_t b,
                     std::int64_t g) {
  HeadBackward(arguments, out, dout, row_max, inverse_sum, gradients, b, g).run();
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "hedgehog/kernels/cpu/bidirectional.h"

namespace hedgehog::kernels {

HWY_EXPORT(causal_backward);

void attention_backward(const AttentionArguments& arguments, Strided<const float> out, Strided<const float> out_gradient,
                        const float* row_max, const float* inverse_sum, const AttentionGradients& gradients,
                        const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  if (!s.causal) return bidirectional_backward(arguments, out, out_gradient, inverse_sum, gradients, parallel_for);
  parallel_for(s.batch * s.kv_heads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      HWY_DYNAMIC_DISPATCH(causal_backward)
      (arguments, out, out_gradient, row_max, inverse_sum, gradients, task / s.kv_heads, task % s.kv_heads);
    }
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE

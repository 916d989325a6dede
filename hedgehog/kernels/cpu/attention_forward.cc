// Forward of kernels/attention.h: a tile of query rows at a time, weights of a tile only, the linear state carried along.
#include "hedgehog/kernels/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/attention_forward.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/attention_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// What one task needs besides its head: strips of one tile.
struct ForwardScratch {
  std::int64_t strip_row, wide;
  Buffer<float> scores, features, numerator, from_state, relative, absorb_rows, state;

  explicit ForwardScratch(const AttentionShape& s, std::int64_t prefix)
      : strip_row(padded((all_keys_exact(s) ? s.length : least(s.length, kTileRows + s.window)) + s.sinks + prefix)),
        wide(padded(s.dim + 1)),
        scores(kTileRows * strip_row),
        features(s.features > 0 ? kTileRows * strip_row : 1),
        numerator(kTileRows * wide),
        from_state(kTileRows * wide),
        relative(strip_row),
        absorb_rows(kTileRows * wide),
        state(most(s.features, 1) * wide) {}
};

// Turns raw scores and feature products of row i into unnormalised weights in `scores`, with the row's maximum taken out.
// Returns their sum; `maximum` and `state_factor` (what the state's part is multiplied by, 0: not seen) are outputs.
inline float weigh_row(const KeyHead& head, const Tile& tile, std::int64_t i, float log_scale, const float* relative,
                       float* scores, const float* features, float* maximum, float* state_factor) {
  const AttentionShape& shape = head.arguments.shape;
  const RowRanges r = row_ranges(head, tile, i);
  const bool linear = shape.features > 0 && (r.state || r.linear_end > r.linear_begin);
  const std::int64_t near = tile.near_column();
  scale_row(scores, tile.columns(), shape.scale, false, scores);
  float top = linear ? log_scale : -3.0e38f;
  top = row_maximum(scores, r.far, top);
  top = row_maximum(scores + r.exact_begin, r.linear_begin - r.exact_begin, top);
  top = row_maximum(scores + r.linear_end, r.row_end - r.linear_end, top);
  float sum = exponentials(scores, r.far, top, 1, scores);
  fill_row(0, r.exact_begin - r.far, scores + r.far);
  sum += exponentials(scores + r.exact_begin, r.linear_begin - r.exact_begin, top, 1, scores + r.exact_begin);
  const float factor = std::exp(log_scale - top);
  if (linear) {
    const float* keys = head.decay == nullptr ? nullptr : relative + (r.linear_begin - near);
    const float own = head.decay == nullptr ? 0 : relative[i - tile.n0];
    sum += linear_weights(features + r.linear_begin, r.linear_end - r.linear_begin, keys, own, factor, scores + r.linear_begin);
  } else {
    fill_row(0, r.linear_end - r.linear_begin, scores + r.linear_begin);
  }
  sum += exponentials(scores + r.linear_end, r.row_end - r.linear_end, top, 1, scores + r.linear_end);
  fill_row(0, tile.columns() - r.row_end, scores + r.row_end);
  *maximum = top;
  *state_factor = r.state ? factor * std::exp(head.decay_between(tile.n0 - 1, i)) : 0;
  return sum;
}

// numerator [rows, D] = weights [rows, columns] times the values of the tile's keys.
inline void weighted_values(const KeyHead& head, const Tile& tile, std::int64_t rows, const float* weights,
                            std::int64_t strip_row, float* numerator, std::int64_t numerator_row) {
  const AttentionArguments& a = head.arguments;
  gemm(rows, head.dim, tile.t1 - tile.n0, weights + tile.near_column(), strip_row, 1, head.v + tile.n0 * head.v_row, head.v_row,
       numerator, numerator_row, Store::kOverwrite);
  if (tile.sinks > 0) {
    gemm(rows, head.dim, tile.sinks, weights + tile.prefix, strip_row, 1, head.v + tile.sink_begin * head.v_row, head.v_row,
         numerator, numerator_row, Store::kAdd);
  }
  if (tile.prefix > 0) {
    gemm(rows, head.dim, tile.prefix, weights, strip_row, 1, a.prefix_v.at(head.b, head.g), a.prefix_v.row, numerator,
         numerator_row, Store::kAdd);
  }
}

void causal_forward(const AttentionArguments& a, const Strided<float>& outputs, float* row_max, float* inverse_sum,
                    float* state_out, std::int64_t absorb_end, std::int64_t b, std::int64_t g, std::int64_t first_head,
                    std::int64_t last_head) {
  const AttentionShape& s = a.shape;
  Buffer<double> decay_memory(a.log_gate == nullptr ? 1 : s.length);
  const KeyHead head(a, b, g, decay_memory.get());
  const bool exact = s.window > 0 || s.sinks > 0 || a.prefix_rows > 0 || all_keys_exact(s);
  const TransposedKeys keys(exact ? s.length : 1, s.dim, exact ? a.k.at(b, g) : nullptr, a.k.row);
  const TransposedKeys prefix(a.prefix_rows, s.dim, a.prefix_rows > 0 ? a.prefix_k.at(b, g) : nullptr, a.prefix_k.row);
  const TransposedKeys key_features(s.features > 0 ? s.length : 1, most(s.features, 1), head.phi_k, head.phi_k_row);
  ForwardScratch scratch(s, a.prefix_rows);
  LinearState state{scratch.state.get(), scratch.wide};
  std::memset(state.s, 0, sizeof(float) * static_cast<std::size_t>(most(s.features, 1) * scratch.wide));
  const std::int64_t state_offset = (b * s.kv_heads + g) * s.features * (s.dim + 1);
  if (a.state_in != nullptr) {
    for (std::int64_t f = 0; f < s.features; ++f) {
      std::memcpy(state.s + f * scratch.wide, a.state_in + state_offset + f * (s.dim + 1),
                  sizeof(float) * static_cast<std::size_t>(s.dim + 1));
    }
  }
  for (std::int64_t t0 = s.query_begin; t0 < s.length; t0 += kTileRows) {
    const Tile tile = make_tile(head, t0);
    const std::int64_t rows = tile.t1 - tile.t0;
    if (s.features > 0) absorb(head, state, tile.n0, scratch.absorb_rows.get());
    tile_decay(head, tile, scratch.relative.get());
    for (std::int64_t h = first_head; h < last_head; ++h) {
      const std::int64_t q0 = t0 - s.query_begin;
      if (exact) {
        const float* q = a.q.at(b, h, q0);
        if (tile.prefix > 0) {
          gemm(rows, tile.prefix, s.dim, q, a.q.row, 1, prefix.column(0), prefix.stride, scratch.scores.get(),
               scratch.strip_row, Store::kOverwrite);
        }
        tile_products(tile, rows, s.dim, q, a.q.row, keys, scratch.scores.get(), scratch.strip_row);
      } else {
        std::memset(scratch.scores.get(), 0, sizeof(float) * static_cast<std::size_t>(rows * scratch.strip_row));
      }
      const bool linear_near = s.features > 0 && tile.t1 - s.window > tile.n0;
      if (linear_near) {
        gemm(rows, tile.t1 - s.window - tile.n0, s.features, a.phi_q.at(b, h, q0), a.phi_q.row, 1, key_features.column(tile.n0),
             key_features.stride, scratch.features.get() + tile.near_column(), scratch.strip_row, Store::kOverwrite);
      }
      const bool has_state = s.features > 0 && (state.absorbed > 0 || a.state_in != nullptr);
      if (has_state) {
        gemm(rows, s.dim + 1, s.features, a.phi_q.at(b, h, q0), a.phi_q.row, 1, state.s, state.stride, scratch.from_state.get(),
             scratch.wide, Store::kOverwrite);
      }
      float sums[kTileRows], factors[kTileRows];
      const std::int64_t row_offset = (b * s.heads + h) * s.query_rows() + q0;
      for (std::int64_t r = 0; r < rows; ++r) {
        const float log_scale = a.row_log_scale == nullptr ? 0 : a.row_log_scale[row_offset + r];
        sums[r] = weigh_row(head, tile, t0 + r, log_scale, scratch.relative.get(), scratch.scores.get() + r * scratch.strip_row,
                            scratch.features.get() + r * scratch.strip_row, row_max + row_offset + r, factors + r);
      }
      weighted_values(head, tile, rows, scratch.scores.get(), scratch.strip_row, scratch.numerator.get(), scratch.wide);
      for (std::int64_t r = 0; r < rows; ++r) {
        const float* from_state = scratch.from_state.get() + r * scratch.wide;
        const float factor = has_state ? factors[r] : 0;
        const float total = sums[r] + (factor > 0 ? factor * from_state[s.dim] : 0);
        const float inverse = inverse_or_zero(total);
        inverse_sum[row_offset + r] = inverse;
        float* out = outputs.at(b, h, q0 + r);
        scale_row(scratch.numerator.get() + r * scratch.wide, s.dim, inverse, false, out);
        if (factor > 0) scale_row(from_state, s.dim, factor * inverse, true, out);
      }
    }
  }
  if (state_out != nullptr && first_head == g * (s.heads / s.kv_heads)) {
    absorb(head, state, absorb_end, scratch.absorb_rows.get());
    for (std::int64_t f = 0; f < s.features; ++f) {
      std::memcpy(state_out + state_offset + f * (s.dim + 1), state.s + f * scratch.wide,
                  sizeof(float) * static_cast<std::size_t>(s.dim + 1));
    }
  }
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "hedgehog/kernels/cpu/bidirectional.h"
#include "hedgehog/kernels/cpu/out_of_memory.h"

#include <algorithm>
#include <new>

namespace hedgehog::kernels {

HWY_EXPORT(causal_forward);

void throw_out_of_memory() {
  throw std::bad_alloc();
}

const char* instruction_set() {
  return hwy::TargetName(hwy::SupportedTargets() & -hwy::SupportedTargets() & HWY_TARGETS);
}

void attention_forward(const AttentionArguments& arguments, Strided<float> out, float* row_max, float* inverse_sum,
                       float* state_out, std::int64_t absorb_end, const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  if (!s.causal) return bidirectional_forward(arguments, out, row_max, inverse_sum, parallel_for);
  // Few sequences: query heads apart, each repeating its key head's state, so that every thread has work. The state that a call
  // hands on is written once per key head, and the reading of state_in must not race with it, so then heads stay together.
  const std::int64_t group = s.heads / s.kv_heads;
  const bool apart = s.batch * s.kv_heads < 8 && state_out == nullptr && s.query_rows() > 1;
  const std::int64_t step = apart ? 1 : group;
  parallel_for(s.batch * s.heads / step, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t b = task * step / s.heads, h = task * step % s.heads;
      HWY_DYNAMIC_DISPATCH(causal_forward)
      (arguments, out, row_max, inverse_sum, state_out, absorb_end, b, h / group, h, h + step);
    }
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE

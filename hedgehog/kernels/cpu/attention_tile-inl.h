// What forward, backward and distillation share: which keys a tile of query rows sees and how, one key/value head's views, and
// the linear state. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_ATTENTION_TILE_INL_H_
#undef HEDGEHOG_KERNELS_CPU_ATTENTION_TILE_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_ATTENTION_TILE_INL_H_
#endif

#include "hedgehog/kernels/attention.h"
#include "hedgehog/kernels/cpu/buffer-inl.h"
#include "hedgehog/kernels/cpu/gemm_tile-inl.h"
#include "hedgehog/kernels/cpu/row_operations-inl.h"

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

constexpr std::int64_t kTileRows = 64;

// Everything of one (batch, key/value head) that does not depend on the query head.
struct KeyHead {
  const AttentionArguments& arguments;
  std::int64_t b, g, length, dim, features;
  const std::int32_t* segment;  // of this batch entry, or null
  const float* v;
  std::int64_t v_row;
  const float* phi_k;
  std::int64_t phi_k_row;
  const double* decay;  // A_i = Σ_{t ≤ i} log γ_t, or null

  KeyHead(const AttentionArguments& a, std::int64_t batch, std::int64_t head, double* decay_memory)
      : arguments(a),
        b(batch),
        g(head),
        length(a.shape.length),
        dim(a.shape.dim),
        features(a.shape.features),
        segment(a.segment_start == nullptr ? nullptr : a.segment_start + batch * a.shape.length),
        v(a.v.at(batch, head)),
        v_row(a.v.row),
        phi_k(features > 0 ? a.phi_k.at(batch, head) : nullptr),
        phi_k_row(a.phi_k.row),
        decay(nullptr) {
    if (a.log_gate != nullptr && features > 0) {
      const float* gate = a.log_gate + (batch * a.shape.kv_heads + head) * length;
      double sum = 0;
      for (std::int64_t i = 0; i < length; ++i) decay_memory[i] = sum += static_cast<double>(gate[i]);
      decay = decay_memory;
    }
  }

  std::int64_t segment_of(std::int64_t row) const { return segment == nullptr ? 0 : segment[row]; }
  // A_to − A_from, with A_{-1} = 0.
  float decay_between(std::int64_t from, std::int64_t to) const {
    if (decay == nullptr) return 0;
    return static_cast<float>((to >= 0 ? decay[to] : 0.0) - (from >= 0 ? decay[from] : 0.0));
  }
};

// The keys of query rows [t0, t1). Columns of a weight strip: prefix rows, then far sinks, then near rows [n0, t1). Keys before
// n0 of the document of row n0, sinks left out, are in the linear state.
struct Tile {
  std::int64_t t0, t1, n0, sink_begin, sinks, prefix;

  std::int64_t near_column() const { return prefix + sinks; }
  std::int64_t columns() const { return prefix + sinks + (t1 - n0); }
};

inline bool all_keys_exact(const AttentionShape& shape) {
  return shape.features == 0 && shape.window == 0 && shape.sinks == 0;
}

inline Tile make_tile(const KeyHead& head, std::int64_t t0) {
  const AttentionShape& shape = head.arguments.shape;
  Tile tile{};
  tile.t0 = t0;
  tile.t1 = least(t0 + kTileRows, head.length);
  tile.prefix = head.arguments.prefix_rows;
  if (all_keys_exact(shape)) {
    tile.n0 = head.segment_of(t0);
    return tile;
  }
  tile.n0 = shape.window > 0 ? most(0, t0 - shape.window + 1) : t0;
  const std::int64_t start = head.segment_of(tile.n0);
  tile.sink_begin = start;
  tile.sinks = shape.sinks > 0 ? most(0, least(start + shape.sinks, tile.n0) - start) : 0;
  return tile;
}

// How row i weighs the tile's columns: [0, far) exact, near columns [exact_begin, linear_begin) exact, [linear_begin,
// linear_end) linear (nothing at all when there are no features), [linear_end, row_end) exact.
struct RowRanges {
  std::int64_t far, exact_begin, linear_begin, linear_end, row_end;
  bool state;  // the linear state belongs to the row's document
};

inline RowRanges row_ranges(const KeyHead& head, const Tile& tile, std::int64_t i) {
  const AttentionShape& shape = head.arguments.shape;
  const std::int64_t start = head.segment_of(i), low = most(start, tile.n0);
  const std::int64_t column = tile.near_column() - tile.n0;  // of key row 0
  std::int64_t linear_begin = i + 1, linear_end = i + 1;
  if (!all_keys_exact(shape)) {
    linear_begin = clamp(start + shape.sinks, low, i + 1);
    linear_end = clamp(i - shape.window + 1, linear_begin, i + 1);
  }
  const bool same_document = start < tile.n0 || (start == 0 && tile.n0 == 0);
  RowRanges ranges{};
  ranges.far = start < tile.n0 ? tile.near_column() : (start == 0 ? tile.prefix : 0);
  ranges.exact_begin = low + column;
  ranges.linear_begin = linear_begin + column;
  ranges.linear_end = linear_end + column;
  ranges.row_end = i + 1 + column;
  ranges.state = shape.features > 0 && same_document && (start + shape.sinks < tile.n0 || head.arguments.state_in != nullptr);
  return ranges;
}

// S [F, stride] with S's column D the normaliser z.
struct LinearState {
  float* s;
  std::int64_t stride;
  std::int64_t absorbed =
      0;  // key rows before this one are in s (those of the current document); referenced at row absorbed − 1
};

// Moves the state on to key row `end`: decays it, drops it where a document ends, adds the rows' φ(k) [v, 1]ᵀ, leaves sinks
// out. scratch [rows, stride].
inline void absorb(const KeyHead& head, LinearState& state, std::int64_t end, float* scratch) {
  const AttentionShape& shape = head.arguments.shape;
  while (state.absorbed < end) {
    const std::int64_t a0 = state.absorbed, a1 = least(a0 + kTileRows, end);
    const std::int64_t start = head.segment_of(least(a1, head.length - 1));
    if (start > a0) {
      std::memset(state.s, 0, sizeof(float) * static_cast<std::size_t>(head.features * state.stride));
    } else if (head.decay != nullptr) {
      scale_row(state.s, head.features * state.stride, std::exp(head.decay_between(a0 - 1, a1 - 1)), false, state.s);
    }
    const std::int64_t first = clamp(start + shape.sinks, a0, a1);
    for (std::int64_t j = first; j < a1; ++j) {
      float* row = scratch + (j - first) * state.stride;
      const float weight = head.decay == nullptr ? 1.0f : std::exp(head.decay_between(j, a1 - 1));
      scale_row(head.v + j * head.v_row, head.dim, weight, false, row);
      row[head.dim] = weight;
    }
    if (first < a1) {
      gemm(head.features, head.dim + 1, a1 - first, head.phi_k + first * head.phi_k_row, 1, head.phi_k_row, scratch,
           state.stride, state.s, state.stride, Store::kAdd);
    }
    state.absorbed = a1;
  }
}

// Keys with rows as columns, so that products over them read B in rows: k [D, stride], φ(k) [F, stride], v [D, stride].
struct TransposedKeys {
  Buffer<float> memory;
  std::int64_t stride;

  TransposedKeys(std::int64_t rows, std::int64_t width, const float* from, std::int64_t from_row)
      : memory(width * padded(rows)), stride(padded(rows)) {
    if (from != nullptr) transpose(rows, width, from, from_row, memory.get(), stride);
  }
  const float* column(std::int64_t row) const { return memory.get() + row; }
};

// strip [rows, strip_row] = x [rows, width] times the tile's transposed keys: far sinks and near rows.
inline void tile_products(const Tile& tile, std::int64_t rows, std::int64_t width, const float* x, std::int64_t x_row,
                          const TransposedKeys& keys, float* strip, std::int64_t strip_row) {
  if (tile.sinks > 0) {
    gemm(rows, tile.sinks, width, x, x_row, 1, keys.column(tile.sink_begin), keys.stride, strip + tile.prefix, strip_row,
         Store::kOverwrite);
  }
  gemm(rows, tile.t1 - tile.n0, width, x, x_row, 1, keys.column(tile.n0), keys.stride, strip + tile.near_column(), strip_row,
       Store::kOverwrite);
}

// a_j of the near rows relative to row n0 − 1, where the state is referenced.
inline void tile_decay(const KeyHead& head, const Tile& tile, float* relative) {
  if (head.decay == nullptr) return;
  for (std::int64_t j = tile.n0; j < tile.t1; ++j) relative[j - tile.n0] = head.decay_between(tile.n0 - 1, j);
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

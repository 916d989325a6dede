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
#include "hedgehog/kernels/cpu/element-inl.h"
#include "hedgehog/kernels/cpu/gemm_tile-inl.h"
#include "hedgehog/kernels/cpu/row_block.h"
#include "hedgehog/kernels/cpu/row_operations-inl.h"

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

constexpr std::int64_t kTileRows = kChunkRows;

// Everything of one (batch, key/value head) that does not depend on the query head.
struct KeyHead {
  const AttentionArguments& arguments;
  std::int64_t b, g, length, dim, features;
  const std::int32_t* segment;  // of this batch entry, or null
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
        phi_k(a.phi_k ? a.phi_k.at(batch, head) : nullptr),
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
  // The end of the document that begins with row `begin`, and of those of its keys that are no padding.
  std::int64_t document_end(std::int64_t begin) const {
    std::int64_t end = begin + 1;
    while (end < length && segment_of(end) == segment_of(begin)) ++end;
    return end;
  }
  std::int64_t keys_end(std::int64_t begin, std::int64_t end) const {
    return arguments.key_count == nullptr ? end : clamp(arguments.key_count[b], begin, end);
  }
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
};

inline bool all_keys_exact(const AttentionShape& shape) {
  return shape.features == 0 && shape.window == 0 && shape.sinks == 0;
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
  ranges.state = shape.features > 0 && same_document && (start + shape.sinks < tile.n0 || head.arguments.state_in);
  return ranges;
}

// x [n] of a row, scaled, to fp32 or bf16.
inline void write_row(const float* x, std::int64_t n, float factor, const MutableRows& to, std::int64_t b, std::int64_t h,
                      std::int64_t i) {
  const auto write = [&](auto* row) {
    over(n, [&](auto d, std::int64_t j) { store(hn::Mul(hn::Set(d, factor), load(d, x + j)), d, row + j); });
  };
  if (to.element == Element::kBfloat16) {
    write(to.at<std::uint16_t>(b, h, i));
  } else {
    write(to.at<float>(b, h, i));
  }
}

// x·y of one row, both of x's element.
inline float row_dot(const Rows& x, const Rows& y, std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t n) {
  if (x.element == Element::kBfloat16) return dot_of(x.at<std::uint16_t>(b, h, i), y.at<std::uint16_t>(b, h, i), n);
  return dot_of(x.at<float>(b, h, i), y.at<float>(b, h, i), n);
}

// a_j of the near rows relative to row n0 − 1, where the state is referenced.
inline void tile_decay(const KeyHead& head, const Tile& tile, float* relative) {
  if (head.decay == nullptr) return;
  for (std::int64_t j = tile.n0; j < tile.t1; ++j) relative[j - tile.n0] = head.decay_between(tile.n0 - 1, j);
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

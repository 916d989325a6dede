// A tile of query rows whose near keys are whole chunks, and products over it that stop at the diagonal. Included once per
// instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_CHUNK_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_CHUNK_TILE_INL_H_
#undef HEDGEHOG_KERNELS_CPU_CHUNK_TILE_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_CHUNK_TILE_INL_H_
#endif

#include "hedgehog/kernels/cpu/key_chunks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// The tile of query rows from t0 to the end of its chunk; its near keys begin with a chunk.
inline Tile make_chunk_tile(const KeyHead& head, std::int64_t t0) {
  const AttentionShape& shape = head.arguments.shape;
  Tile tile{};
  tile.t0 = t0;
  tile.t1 = least((chunk_of(t0) + 1) * kTileRows, head.length);
  tile.prefix = head.arguments.prefix_rows;
  if (all_keys_exact(shape)) {
    tile.n0 = chunk_of(head.segment_of(t0)) * kTileRows;
    return tile;
  }
  tile.n0 = first_near_row(shape, t0);
  const std::int64_t start = head.segment_of(tile.n0);
  tile.sink_begin = start;
  tile.sinks = shape.sinks > 0 ? most(0, least(start + shape.sinks, tile.n0) - start) : 0;
  return tile;
}

// Chunks that near keys may span, and the one that leaves.
inline std::int64_t chunks_kept(const AttentionShape& s) {
  const std::int64_t all = (s.length + kTileRows - 1) / kTileRows;
  return all_keys_exact(s) ? all : least(all, (s.window + kTileRows - 1) / kTileRows + 2);
}

// Calls body(begin, end) for the parts of rows [begin, end) in each chunk.
template <class Body>
inline void for_chunks(std::int64_t begin, std::int64_t end, const Body& body) {
  for (std::int64_t row = begin; row < end;) {
    const std::int64_t next = least((chunk_of(row) + 1) * kTileRows, end);
    body(row, next);
    row = next;
  }
}

// Calls body(first row, rows, near columns that these rows may see) for steps of a tile's rows.
template <class Body>
inline void for_row_steps(const Tile& tile, const Body& body) {
  const std::int64_t rows = tile.t1 - tile.t0, before = tile.t0 - tile.n0;
  for (std::int64_t r = 0; r < rows; r += kStepRows) {
    const std::int64_t count = least(kStepRows, rows - r);
    body(r, count, before + r + count);
  }
}

// strip [rows, strip_row] = x [rows, width] times the near chunks' panels(chunk), right sides [width, kTileRows]: the near
// columns before key row `end`, right of the diagonal only to the end of a step.
template <class Math, class Panels>
inline void near_products(const Tile& tile, std::int64_t end, std::int64_t width, View<typename Math::Number> x,
                          const Panels& panels, float* strip, std::int64_t strip_row) {
  for (std::int64_t begin = tile.n0; begin < end; begin += kTileRows) {
    const auto panel = panels(chunk_of(begin));
    float* to = strip + tile.near_column() + (begin - tile.n0);
    if (begin + kTileRows <= tile.t0) {
      Math::product(tile.t1 - tile.t0, least(kTileRows, end - begin), width, x, panel, to, strip_row, Store::kOverwrite);
      continue;
    }
    for_row_steps(tile, [&](std::int64_t r, std::int64_t count, std::int64_t visible) {
      const std::int64_t columns = least(tile.n0 + visible, end) - begin;
      Math::product(count, columns, width, {x.data + r * x.row, x.row}, panel, to + r * strip_row, strip_row,
                    Store::kOverwrite);
    });
  }
}

// Exact keys and values that lie apart from the near ones.
template <class Math>
class FarKeys {
  using Number = typename Math::Number;

 public:
  FarKeys(const KeyHead& head, const Rows& k, const Rows& v, std::int64_t most_rows)
      : head_(head),
        k_(k),
        v_(v),
        columns_(padded(most_rows)),
        size_(even(most_rows) * even(head.dim)),
        input_(2 * size_),
        rows_memory_(2 * size_),
        transposed_memory_(2 * even(head.dim) * columns_) {}

  void set(std::int64_t begin, std::int64_t count) {
    if (begin == begin_ && count == count_) return;
    begin_ = begin;
    count_ = count;
    const auto make = [&](const Rows& from, std::int64_t n, View<Number>& rows, View<Number>& transposed) {
      const View<Number> input = Math::input(from, head_.b, head_.g, begin, count, head_.dim, input_.get() + n * size_);
      rows = Math::right(input, count, head_.dim, rows_memory_.get() + n * size_);
      transposed =
          Math::right_transposed(input, count, head_.dim, columns_, transposed_memory_.get() + n * even(head_.dim) * columns_);
    };
    make(k_, 0, key_rows, keys);
    make(v_, 1, values, values_transposed);
  }

  View<Number> keys{}, values_transposed{};  // right sides [D, count]
  View<Number> key_rows{}, values{};         // right sides [count, D]

 private:
  const KeyHead& head_;
  const Rows &k_, &v_;
  std::int64_t columns_, size_, begin_ = 0, count_ = 0;
  Buffer<Number> input_, rows_memory_, transposed_memory_;
};

// φ of a tile's queries: given, or made by the map.
template <class Math>
class QueryFeatures {
 public:
  using Number = typename Math::Number;

  QueryFeatures(const KeyHead& head, std::int64_t first_head, std::int64_t last_head)
      : head_(head),
        map_(head.arguments.map),
        first_head_(first_head),
        projected_row_(padded(map_.width)),
        map_size_(even(head.dim) * map_.width),
        maps_((last_head - first_head) * map_size_),
        projected_(map_.width > 0 ? kTileRows * projected_row_ : 1),
        exponentials_(Math::kPair > 1 ? kRowsTogether * 2 * map_.width : 1),
        features_(kTileRows * row()) {
    const std::int64_t size = map_.width * head.dim;
    Buffer<Number> rows(map_size_);
    for (std::int64_t h = first_head; size > 0 && h < last_head; ++h) {
      const View<Number> weight = Math::left(map_.q_weight + h * size, head.dim, map_.width, head.dim, rows.get());
      Math::right_transposed(weight, map_.width, head.dim, map_.width, maps_.get() + (h - first_head) * map_size_);
    }
  }

  // Of query rows [first, first + rows), by their number in the call: a left side [rows, F], good until the next call; q: these
  // rows, not read where φ is given.
  View<Number> of(std::int64_t first, std::int64_t rows, std::int64_t h, View<Number> q) {
    const AttentionArguments& a = head_.arguments;
    const std::int64_t width = map_.width;
    if (width == 0) return Math::left(a.phi_q.at(head_.b, h, first), a.phi_q.row, rows, head_.features, features_.get());
    Math::product(rows, width, head_.dim, q, {maps_.get() + (h - first_head_) * map_size_, width}, projected_.get(),
                  projected_row_, Store::kOverwrite);
    add_bias(map_.q_bias == nullptr ? nullptr : map_.q_bias + h * width, rows, width, projected_.get(), projected_row_);
    activate_rows<Math>(map_.activation, rows, width, projected_.get(), projected_row_, exponentials_.get(), features_.get(),
                        row(), log_scales_);
    return {features_.get(), row()};
  }
  View<Number> of(const Tile& tile, std::int64_t h, View<Number> q) {
    return of(tile.t0 - head_.arguments.shape.query_begin, tile.t1 - tile.t0, h, q);
  }
  // kExp's log scale of each of the tile's rows, 0 for other maps.
  const float* log_scales() const { return log_scales_; }

 private:
  // Of φ; padded, so that consecutive rows stay out of the same cache sets.
  std::int64_t row() const { return padded(head_.features); }

  const KeyHead& head_;
  const FeatureMap& map_;
  std::int64_t first_head_, projected_row_, map_size_;
  Buffer<Number> maps_;
  Buffer<float> projected_, exponentials_;
  Buffer<Number> features_;
  float log_scales_[kTileRows] = {};
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

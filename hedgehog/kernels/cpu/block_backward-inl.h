// The backward pass of one block of rows of one key/value head. Tiles of weights are recomputed from row_max and inverse_sum,
// from the last tile to the first; the state before each tile is recomputed from the block's first. Included once per
// instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_BLOCK_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_BLOCK_BACKWARD_INL_H_
#undef HEDGEHOG_KERNELS_CPU_BLOCK_BACKWARD_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_BLOCK_BACKWARD_INL_H_
#endif

#include "hedgehog/kernels/cpu/chunk_tile-inl.h"
#include "hedgehog/kernels/cpu/key_gradients-inl.h"
#include "hedgehog/kernels/cpu/map_backward-inl.h"
#include "hedgehog/kernels/cpu/output_gradient-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// Tiles of a block, first to last.
inline std::int64_t tile_count(const RowBlock& block) {
  return (block.end - block.begin + kTileRows - 1) / kTileRows;
}

// See absorb_row_gradients.
template <class Math>
void absorb_row_gradients_in(const BackwardArguments& arguments, std::int64_t b, std::int64_t g, const RowBlock& block,
                             std::int64_t next_absorbed, float* to, float* carry) {
  using Number = typename Math::Number;
  const AttentionArguments& a = arguments.forward;
  const std::int64_t group = a.shape.heads / a.shape.kv_heads, dim = a.shape.dim, features = a.shape.features;
  Buffer<double> decay_memory(a.log_gate == nullptr ? 1 : a.shape.length);
  const KeyHead head(a, b, g, decay_memory.get());
  StateSum gradient(head, nullptr);
  OutputGradient<Math> output(arguments, head);
  QueryFeatures<Math> queries(head, g * group, (g + 1) * group);
  Buffer<Number> query_memory(kTileRows * even(dim)), phi_memory(kTileRows * features), scratch(kTileRows * features),
      rows_memory(kTileRows * dim);
  std::int64_t at = next_absorbed;
  for (std::int64_t n = tile_count(block) - 1; n >= 0; --n) {
    const Tile tile = make_chunk_tile(head, block.begin + n * kTileRows);
    const std::int64_t rows = tile.t1 - tile.t0;
    while (at > tile.n0) {
      const std::int64_t begin = most(tile.n0, chunk_of(at - 1) * kTileRows);
      gradient.pass(begin, at);
      at = begin;
    }
    for (std::int64_t h = g * group; h < (g + 1) * group; ++h) {
      View<Number> q{};
      if (a.map.width > 0) q = Math::input(a.q, b, h, tile.t0, rows, dim, query_memory.get());
      const View<Number> phi = queries.of(tile, h, q);
      output.set(tile, h, queries.log_scales());
      output.set_state_rows(tile, h);
      add_rows<Math>(head, rows, phi, Math::sides(phi, rows, features, phi_memory.get(), scratch.get()).left_transposed,
                     Math::right(output.rows(), rows, dim, rows_memory.get()), output.last(), gradient);
    }
  }
  gradient.write(to);
  *carry = gradient.carry();
}

// One block's backward pass of one key/value head. Gradients of a chunk of keys are summed transposed: dφ(k)ᵀ [F, 64], dkᵀ and
// dvᵀ [D, 64].
template <class Math>
class BlockBackward {
  using Number = typename Math::Number;

 public:
  BlockBackward(const BackwardArguments& arguments, std::int64_t b, std::int64_t g, const BackwardBlock& task)
      : a_(arguments.forward),
        s_(a_.shape),
        gradients_(arguments.gradients),
        task_(task),
        block_(task.rows),
        decay_memory_(a_.log_gate == nullptr ? 1 : s_.length),
        head_(a_, b, g, decay_memory_.get()),
        exact_(s_.window > 0 || s_.sinks > 0 || all_keys_exact(s_)),
        plain_(!exact_ && head_.decay == nullptr && head_.segment == nullptr && a_.row_log_scale == nullptr),
        needs_q_(exact_ || a_.map.width > 0),
        kept_(chunks_kept(s_)),
        chunks_(head_, kept_,
                {.keys = exact_, .values_transposed = true, .key_rows = needs_q_, .feature_rows = s_.features > 0}),
        queries_(head_, g * group(), (g + 1) * group()),
        output_(arguments, head_),
        map_backward_(head_),
        gradient_(head_, task.state_gradient),
        sinks_(head_, a_.k, a_.v, s_.sinks),
        strip_row_(padded(kept_ * kTileRows + s_.sinks)),
        weights_(kTileRows * strip_row_),
        products_(s_.features > 0 && !plain_ ? kTileRows * strip_row_ : 1),
        value_gradients_(kTileRows * strip_row_),
        relative_(strip_row_),
        feature_row_(padded(s_.features)),
        query_row_(padded(s_.dim)),
        feature_gradients_(kTileRows * feature_row_),
        query_gradients_(kTileRows * query_row_),
        keys_(head_, gradients_, task_, kept_),
        states_(s_.features > 0 ? kept_states() * even(s_.features) * even(s_.dim) : 1),
        state_z_(s_.features > 0 ? kept_states() * s_.features : 1),
        temporary_(kTileRows * most(s_.dim, s_.features)),
        memory_(kWideParts * wide() + 3 * even(s_.features) * even(s_.dim)),
        key_map_memory_(2 * even(a_.map.width) * even(s_.dim)),
        query_maps_memory_(group() * even(a_.map.width) * s_.dim),
        query_maps_(group()) {
    Number* memory = memory_.get();
    for (Number** part :
         {&query_memory_, &dy_transposed_memory_, &dy_right_memory_, &query_transposed_memory_, &query_right_memory_,
          &features_memory_, &features_right_memory_, &strip_left_memory_, &strip_right_memory_}) {
      *part = memory;
      memory += wide();
    }
    for (Number** part : {&state_left_memory_, &state_right_memory_, &state_transposed_memory_}) {
      *part = memory;
      memory += even(s_.features) * even(s_.dim);
    }
    prepare_maps();
  }

  void run() {
    if (!s_.causal) return run_bidirectional();
    for (std::int64_t j = block_.begin; exact_ && j < block_.end; ++j) {
      fill_row(0, s_.dim, keys_.key_row(j));
      fill_row(0, s_.dim, keys_.value_row(j));
    }
    const std::int64_t tiles = tile_count(block_);
    if (s_.features > 0) {
      keep_states(tiles);
      give_to_keys(tile(tiles - 1).n0, task_.next_absorbed);
    }
    for (std::int64_t n = tiles - 1; n >= 0; --n) {
      const Tile now = tile(n);
      run_tile(now, n);
      if (s_.features > 0 && n > 0) give_to_keys(tile(n - 1).n0, now.n0);
      finish_keys(chunk_of(now.t0));
    }
    for (std::int64_t chunk = chunk_of(block_.begin) - 1; chunk >= chunk_of(block_.absorbed) && chunk >= 0; --chunk) {
      if (keys_.holds(chunk)) finish_keys(chunk);
    }
    if (task_.gradient_before != nullptr) gradient_.write(task_.gradient_before);
  }

 private:
  static constexpr std::int64_t kWideParts = 9;
  // Numbers of a part of the memory for sides: a tile of rows of any width that occurs.
  std::int64_t wide() const { return kTileRows * padded(most(most(s_.dim, s_.features), kTileRows)); }

  std::int64_t group() const { return s_.heads / s_.kv_heads; }
  std::int64_t kept_states() const { return s_.causal ? tile_count(block_) : 1; }
  Tile tile(std::int64_t n) const { return make_chunk_tile(head_, block_.begin + n * kTileRows); }

  // W as right sides [M, D] for dx += du W, and for keys, whose du is transposed, Wᵀ as a left side [D, M].
  void prepare_maps() {
    const std::int64_t width = a_.map.width, size = even(width) * s_.dim;
    if (width == 0) return;
    key_map_ = Math::sides(View<float>{a_.map.k_weight + head_.g * width * s_.dim, s_.dim}, width, s_.dim,
                           key_map_memory_.get(), key_map_memory_.get() + even(width) * even(s_.dim))
                   .left_transposed;
    for (std::int64_t n = 0; n < group(); ++n) {
      query_maps_.get()[n] = Math::right_of_fp32(a_.map.q_weight + (head_.g * group() + n) * width * s_.dim, s_.dim, width,
                                                 s_.dim, query_maps_memory_.get() + n * size);
    }
  }

  // Each document by itself: its keys' sum, all its queries, then its keys.
  void run_bidirectional() {
    for (std::int64_t begin = 0; begin < s_.length;) {
      const std::int64_t end = head_.document_end(begin), keys_end = head_.keys_end(begin, end);
      ChunkState<Math> state(head_, chunks_, begin, nullptr);
      for_chunks(begin, keys_end, [&state](std::int64_t first, std::int64_t last) { state.add(first, last); });
      keep_state(0, state.sum());
      take_state(0, true);
      gradient_.restart();
      for_chunks(begin, end, [this](std::int64_t t0, std::int64_t t1) {
        Tile tile{};
        tile.t0 = tile.n0 = t0;
        tile.t1 = t1;
        for (std::int64_t h = head_.g * group(); h < (head_.g + 1) * group(); ++h) run_bidirectional_head(tile, h);
      });
      for_chunks(begin, end, [&](std::int64_t first, std::int64_t last) {
        if (first < keys_end) give_to_rows(first, least(last, keys_end));
        if (last % kTileRows == 0 || last == s_.length) finish_keys(chunk_of(first));
      });
      begin = end;
    }
  }

  void run_bidirectional_head(const Tile& tile, std::int64_t h) {
    const std::int64_t rows = tile.t1 - tile.t0;
    View<Number> q{};
    if (needs_q_) q = Math::input(a_.q, head_.b, h, tile.t0, rows, s_.dim, query_memory_);
    const View<Number> phi = queries_.of(tile, h, q);
    output_.set(tile, h, queries_.log_scales());
    output_.set_plain_rows(tile, h);
    state_gradients(tile, phi, Math::sides(phi, rows, s_.features, features_memory_, features_right_memory_).left_transposed,
                    Math::right(output_.rows(), rows, s_.dim, dy_right_memory_), Store::kOverwrite);
    const bool mapped = finish_queries(tile, h, q, phi);
    if (gradients_.q) write_queries(tile, h, mapped);
  }

  // The state before tile n, transposed: a right side [D, F], and z.
  void keep_state(std::int64_t n, const StateSum& state) {
    const View<float> sum = state.s();
    Math::right_transposed(Math::left(sum.data, sum.row, s_.features, s_.dim, state_left_memory_), s_.features, s_.dim,
                           s_.features, states_.get() + n * even(s_.features) * even(s_.dim));
    std::memcpy(state_z_.get() + n * s_.features, state.z(), sizeof(float) * static_cast<std::size_t>(s_.features));
  }
  void take_state(std::int64_t n, bool there) {
    z_ = there ? state_z_.get() + n * s_.features : nullptr;
    state_ = {states_.get() + (there ? n * even(s_.features) * even(s_.dim) : 0), s_.features};
  }

  void keep_states(std::int64_t tiles) {
    ChunkState<Math> state(head_, chunks_, block_.absorbed, block_.state);
    for (std::int64_t n = 0; n < tiles; ++n) {
      state.absorb(tile(n).n0);
      keep_state(n, state.sum());
    }
  }

  void run_tile(const Tile& tile, std::int64_t n) {
    tile_decay(head_, tile, relative_.get());
    if (tile.sinks > 0) sinks_.set(tile.sink_begin, tile.sinks);
    take_state(n, s_.features > 0 && tile.n0 > 0);
    for (std::int64_t h = head_.g * group(); h < (head_.g + 1) * group(); ++h) run_head(tile, h);
  }

  void run_head(const Tile& tile, std::int64_t h) {
    const std::int64_t rows = tile.t1 - tile.t0, linear_end = tile.t1 - s_.window;
    View<Number> q{}, phi{};
    if (needs_q_) q = Math::input(a_.q, head_.b, h, tile.t0, rows, s_.dim, query_memory_);
    if (s_.features > 0) {
      phi = queries_.of(tile, h, q);
      near_products<Math>(
          tile, linear_end, s_.features, phi, [this](std::int64_t chunk) { return chunks_.features(chunk); },
          (plain_ ? weights_ : products_).get(), strip_row_);
    }
    if (exact_) {
      Math::product(rows, tile.sinks, s_.dim, q, sinks_.keys, weights_.get(), strip_row_, Store::kOverwrite);
      near_products<Math>(
          tile, tile.t1, s_.dim, q, [this](std::int64_t chunk) { return chunks_.keys(chunk); }, weights_.get(), strip_row_);
    }
    output_.set(tile, h, queries_.log_scales());
    // All of a plain row's factors are one: 1/Σ, which dy can carry.
    if (plain_) output_.set_plain_rows(tile, h);
    const View<Number> dy = plain_ ? output_.rows() : output_.dy();
    Math::product(rows, tile.sinks, s_.dim, dy, sinks_.values_transposed, value_gradients_.get(), strip_row_,
                  Store::kOverwrite);
    near_products<Math>(
        tile, tile.t1, s_.dim, dy, [this](std::int64_t chunk) { return chunks_.values_transposed(chunk); },
        value_gradients_.get(), strip_row_);
    const Sides<Number> dy_sides = Math::sides(dy, rows, s_.dim, dy_transposed_memory_, dy_right_memory_);
    if (plain_) {
      plain_gradients(tile, h, q, phi, dy_sides);
      return;
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      // To the end of the row's step of keys.
      const std::int64_t visible = least(tile.t0 - tile.n0 + (r / kStepKeys + 1) * kStepKeys, tile.t1 - tile.n0);
      row_gradients(tile, h, tile.t0 + r, tile.near_column() + visible);
    }
    add_to_keys(tile, tile.t1, s_.dim, dy_sides.left_transposed, weights_.get(),
                [this](std::int64_t chunk) { return keys_.values(chunk); });
    add_to_sinks(tile, dy_sides.left_transposed, weights_.get(), [this](std::int64_t j) { return keys_.value_row(j); });
    bool begun = exact_;
    if (exact_) exact_gradients(tile, q);
    if (s_.features > 0) begun = linear_gradients(tile, h, q, phi, linear_end) || begun;
    if (gradients_.q) write_queries(tile, h, begun);
  }

  // The gradients where a row's weights are its products: linear attention of one document without gate, window and sinks.
  void plain_gradients(const Tile& tile, std::int64_t h, View<Number> q, View<Number> phi, const Sides<Number>& dy) {
    const std::int64_t rows = tile.t1 - tile.t0, chunk = chunk_of(tile.t0);
    const View<Number> weights =
        Math::causal(weights_.get(), strip_row_, rows, 1, nullptr, nullptr, nullptr, strip_right_memory_).right;
    add_to_own_chunk(s_.dim, rows, rows, dy.left_transposed, weights, keys_.values(chunk));
    // (dy·v − y·dy) / Σ
    const LeftAndRight<Number> given = Math::causal(value_gradients_.get(), strip_row_, rows, 1, output_.last(), nullptr,
                                                    strip_left_memory_, strip_right_memory_);
    float* dphi = feature_gradients_.get();
    for_row_steps(tile, [&](std::int64_t r, std::int64_t count, std::int64_t visible) {
      Math::product(count, s_.features, visible, given.left.from(r, 0), chunks_.feature_rows(chunk), dphi + r * feature_row_,
                    feature_row_, Store::kOverwrite);
    });
    const Sides<Number> phi_sides = Math::sides(phi, rows, s_.features, features_memory_, features_right_memory_);
    add_to_own_chunk(s_.features, rows, rows, phi_sides.left_transposed, given.right, keys_.features(chunk));
    if (z_ != nullptr) state_gradients(tile, phi, phi_sides.left_transposed, dy.right, Store::kAdd);
    const bool mapped = finish_queries(tile, h, q, phi);
    if (gradients_.q) write_queries(tile, h, mapped);
  }

  // What the state's part of the rows gives: dφ(q) (+)= S dy (z's part is left to finish_queries), dS and dz. rows: of
  // output_.rows(), as a right side.
  void state_gradients(const Tile& tile, View<Number> phi, View<Number> phi_transposed, View<Number> rows, Store store) {
    const std::int64_t count = tile.t1 - tile.t0;
    Math::product(count, s_.features, s_.dim, output_.rows(), state_, feature_gradients_.get(), feature_row_, store);
    add_rows<Math>(head_, count, phi, phi_transposed, rows, output_.last(), gradient_);
  }

  // sums(chunk) [width, keys] += x [width, rows] strip [rows, keys] over the near keys before `end`.
  template <class Sums>
  void add_to_keys(const Tile& tile, std::int64_t end, std::int64_t width, View<Number> x, const float* strip,
                   const Sums& sums_of) {
    const std::int64_t rows = tile.t1 - tile.t0;
    for (std::int64_t begin = tile.n0; begin < end; begin += kTileRows) {
      const std::int64_t columns = least(kTileRows, end - begin);
      const View<Number> right =
          Math::right_of_fp32(strip + tile.near_column() + (begin - tile.n0), strip_row_, rows, columns, strip_right_memory_);
      float* to = sums_of(chunk_of(begin));
      if (begin + kTileRows <= tile.t0) {
        Math::product(width, columns, rows, x, right, to, kTileRows, Store::kAdd);
        continue;
      }
      add_to_own_chunk(width, rows, columns, x, right, to);
    }
  }

  // to [width, columns] += x [width, rows] strip [rows, columns], a right side, where the rows are of the keys' own chunk: a
  // step of keys is seen from its own rows on.
  static void add_to_own_chunk(std::int64_t width, std::int64_t rows, std::int64_t columns, View<Number> x, View<Number> strip,
                               float* to) {
    for (std::int64_t first = 0; first < columns; first += kStepKeys) {
      Math::product(width, least(kStepKeys, columns - first), rows - first, x.from(0, first), Math::part(strip, first, first),
                    to + first, kTileRows, Store::kAdd);
    }
  }

  // The same for far sinks, straight to their rows.
  template <class RowOf>
  void add_to_sinks(const Tile& tile, View<Number> x, const float* strip, const RowOf& row_of) {
    if (tile.sinks == 0) return;
    const std::int64_t rows = tile.t1 - tile.t0;
    for (std::int64_t begin = 0; begin < tile.sinks; begin += kTileRows) {
      const std::int64_t count = least(kTileRows, tile.sinks - begin);
      Math::product(s_.dim, count, rows, x, Math::right_of_fp32(strip + begin, strip_row_, rows, count, strip_right_memory_),
                    temporary_.get(), kTileRows, Store::kOverwrite);
      for (std::int64_t n = 0; n < count; ++n) {
        float* to = row_of(tile.sink_begin + begin + n);
        for (std::int64_t c = 0; c < s_.dim; ++c) to[c] += temporary_.get()[c * kTileRows + n];
      }
    }
  }

  // to [rows, width] += strip [rows, near keys before `end`] rows_of(chunk) [keys, width].
  template <class RowsOf>
  void times_keys(const Tile& tile, std::int64_t end, std::int64_t width, const float* strip, const RowsOf& rows_of, float* to,
                  std::int64_t to_row) {
    for (std::int64_t begin = tile.n0; begin < end; begin += kTileRows) {
      const View<Number> keys = rows_of(chunk_of(begin));
      const float* from = strip + tile.near_column() + (begin - tile.n0);
      for_row_steps(tile, [&](std::int64_t r, std::int64_t count, std::int64_t visible) {
        const std::int64_t columns = least(least(tile.n0 + visible, end) - begin, kTileRows);
        if (columns <= 0) return;
        Math::product(count, width, columns, Math::left(from + r * strip_row_, strip_row_, count, columns, strip_left_memory_),
                      keys, to + r * to_row, to_row, Store::kAdd);
      });
    }
  }

  // weights := normalised weights; value_gradients (dy·v on entry) := gradients of the scores; products := of φ(q)·φ(k). All up
  // to column `columns`.
  void row_gradients(const Tile& tile, std::int64_t h, std::int64_t i, std::int64_t columns) {
    const RowRanges r = row_ranges(head_, tile, i);
    const std::int64_t offset = (i - tile.t0) * strip_row_, near = tile.near_column();
    float *p = weights_.get() + offset, *dp = value_gradients_.get() + offset,
          *f = products_.get() + (s_.features > 0 ? offset : 0);
    const float top = output_.row_max(h, i), inverse = output_.inverse_sum(h, i), delta = output_.row_dot(tile, i);
    const auto exact = [&](std::int64_t begin, std::int64_t end) {
      if (begin >= end) return;
      exponentials(p + begin, end - begin, s_.scale, top, p + begin);
      scale_row(p + begin, end - begin, inverse, false, p + begin);
      score_gradients(p + begin, dp + begin, end - begin, delta, s_.scale, dp + begin);
    };
    const auto nothing = [](float* x, std::int64_t begin, std::int64_t end) { fill_row(0, end - begin, x + begin); };
    exact(0, r.far);
    exact(r.exact_begin, r.linear_begin);
    exact(r.linear_end, r.row_end);
    if (s_.features > 0) {
      const float factor = std::exp(output_.log_scale(tile, h, i) - top) * inverse;
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
    for (float* x : {p, dp}) {
      nothing(x, r.far, r.exact_begin);
      nothing(x, r.row_end, columns);
    }
  }

  // dq := of the exact keys, dk += theirs.
  void exact_gradients(const Tile& tile, View<Number> q) {
    const std::int64_t rows = tile.t1 - tile.t0;
    float* dq = query_gradients_.get();
    std::memset(dq, 0, sizeof(float) * static_cast<std::size_t>(rows * query_row_));
    times_keys(
        tile, tile.t1, s_.dim, value_gradients_.get(), [this](std::int64_t chunk) { return chunks_.key_rows(chunk); }, dq,
        query_row_);
    for (std::int64_t begin = 0; begin < tile.sinks; begin += kTileRows) {
      const std::int64_t count = least(kTileRows, tile.sinks - begin);
      Math::product(rows, s_.dim, count,
                    Math::left(value_gradients_.get() + begin, strip_row_, rows, count, strip_left_memory_),
                    Math::part(sinks_.key_rows, begin, 0), dq, query_row_, Store::kAdd);
    }
    const View<Number> q_transposed =
        Math::sides(q, rows, s_.dim, query_transposed_memory_, query_right_memory_).left_transposed;
    add_to_keys(tile, tile.t1, s_.dim, q_transposed, value_gradients_.get(),
                [this](std::int64_t chunk) { return keys_.keys(chunk); });
    add_to_sinks(tile, q_transposed, value_gradients_.get(), [this](std::int64_t j) { return keys_.key_row(j); });
  }

  // Returns whether dq has got a part.
  bool linear_gradients(const Tile& tile, std::int64_t h, View<Number> q, View<Number> phi, std::int64_t linear_end) {
    const std::int64_t rows = tile.t1 - tile.t0;
    float* dphi = feature_gradients_.get();
    std::memset(dphi, 0, sizeof(float) * static_cast<std::size_t>(rows * feature_row_));
    times_keys(
        tile, linear_end, s_.features, products_.get(), [this](std::int64_t chunk) { return chunks_.feature_rows(chunk); },
        dphi, feature_row_);
    const Sides<Number> phi_sides = Math::sides(phi, rows, s_.features, features_memory_, features_right_memory_);
    add_to_keys(tile, linear_end, s_.features, phi_sides.left_transposed, products_.get(),
                [this](std::int64_t chunk) { return keys_.features(chunk); });
    if (z_ != nullptr) {
      output_.set_state_rows(tile, h);
      state_gradients(tile, phi, phi_sides.left_transposed, Math::right(output_.rows(), rows, s_.dim, dy_right_memory_),
                      Store::kAdd);
    }
    return finish_queries(tile, h, q, phi);
  }

  // dφ(q) is complete but for z's part: to the caller, or through the map to dq, dW, db. Returns whether dq has got a part.
  bool finish_queries(const Tile& tile, std::int64_t h, View<Number> q, View<Number> phi) {
    const std::int64_t rows = tile.t1 - tile.t0, width = a_.map.width, n = h - head_.g * group();
    float* dots = gradients_.q_dot == nullptr ? nullptr : gradients_.q_dot + output_.row_offset(h, tile.t0);
    if (width > 0) {
      const View<Number> du = map_backward_.queries(rows, phi, feature_gradients_.get(), feature_row_, z_, output_.last(), q,
                                                    task_.q_weight + n * width * s_.dim, task_.q_bias + n * width, dots);
      Math::product(rows, s_.dim, width, du, query_maps_.get()[n], query_gradients_.get(), query_row_,
                    exact_ ? Store::kAdd : Store::kOverwrite);
      return true;
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      float* dphi = feature_gradients_.get() + r * feature_row_;
      if (z_ != nullptr) scale_row(z_, s_.features, output_.last()[r], true, dphi);
      if (dots != nullptr) dots[r] = dot_of(phi.data + r * phi.row, dphi, s_.features);
      scale_row(dphi, s_.features, 1, false, gradients_.phi_q.at(head_.b, h, tile.t0 + r));
    }
    return false;
  }

  void write_queries(const Tile& tile, std::int64_t h, bool any) {
    for (std::int64_t r = 0; r < tile.t1 - tile.t0; ++r) {
      float* row = query_gradients_.get() + r * query_row_;
      if (!any) fill_row(0, s_.dim, row);
      write_row(row, s_.dim, 1, gradients_.q, head_.b, h, tile.t0 + r);
    }
  }

  // All of a chunk's sums are there. Without exact keys they are all that its rows get; with them sinks are added to the row
  // itself.
  void finish_keys(std::int64_t chunk) {
    if (s_.features > 0) finish_features(chunk);
    if (gradients_.k) keys_.write_keys(chunk, exact_);
    keys_.write_values(chunk, exact_);
  }

  void finish_features(std::int64_t chunk) {
    const std::int64_t width = a_.map.width, rows = least(kTileRows, head_.length - chunk * kTileRows);
    const View<Number> phi = chunks_.features_left(chunk);
    if (gradients_.k_dot != nullptr) keys_.write_dots(chunk, phi.data);
    if (width == 0) return keys_.write_features(chunk);
    const float* du =
        map_backward_.keys(rows, phi, keys_.features(chunk), chunks_.key_rows(chunk), task_.k_weight, task_.k_bias);
    Math::product(s_.dim, rows, width, key_map_, Math::right_of_fp32(du, kTileRows, width, kTileRows, strip_right_memory_),
                  keys_.keys(chunk), kTileRows, Store::kAdd);
  }

  // The reverse of ChunkState::absorb over key rows [begin, end): their gradients, then dS back to row begin − 1.
  void give_to_keys(std::int64_t begin, std::int64_t end) {
    for (std::int64_t a1 = end; a1 > begin;) {
      const std::int64_t a0 = most(begin, chunk_of(a1 - 1) * kTileRows);
      const std::int64_t start = head_.segment_of(least(a1, s_.length - 1)), first = clamp(start + s_.sinks, a0, a1);
      if (first < a1) give_to_rows(first, a1);
      gradient_.pass(a0, a1);
      a1 = a0;
    }
  }

  // dφ(k_j) += weight · (dS v_j + dz), dv_j += weight · dSᵀ φ(k_j) for rows of one chunk.
  void give_to_rows(std::int64_t first, std::int64_t end) {
    const std::int64_t chunk = chunk_of(first), begin = chunk * kTileRows;
    const View<float> ds = gradient_.s();
    float weights[kTileRows];
    for (std::int64_t j = 0; j < kTileRows; ++j) {
      const std::int64_t row = begin + j;
      const bool seen = row >= first && row < end;
      weights[j] = !seen ? 0.0f : head_.decay == nullptr ? 1.0f : std::exp(head_.decay_between(row, end - 1));
    }
    const bool whole = head_.decay == nullptr && first == begin && end - begin == kTileRows;
    const auto add = [&](std::int64_t width, std::int64_t k, View<Number> x, View<Number> keys, float* to) {
      if (whole) return Math::product(width, kTileRows, k, x, keys, to, kTileRows, Store::kAdd);
      Math::product(width, kTileRows, k, x, keys, temporary_.get(), kTileRows, Store::kOverwrite);
      for (std::int64_t f = 0; f < width; ++f) {
        multiply_add_row(temporary_.get() + f * kTileRows, weights, kTileRows, to + f * kTileRows);
      }
    };
    add(s_.features, s_.dim, Math::left(ds.data, ds.row, s_.features, s_.dim, state_left_memory_),
        chunks_.values_transposed(chunk), keys_.features(chunk));
    for (std::int64_t f = 0; f < s_.features; ++f) {
      scale_row(weights, kTileRows, gradient_.z()[f], true, keys_.features(chunk) + f * kTileRows);
    }
    add(s_.dim, s_.features,
        Math::sides(ds, s_.features, s_.dim, state_transposed_memory_, state_right_memory_).left_transposed,
        chunks_.features(chunk), keys_.values(chunk));
  }

  const AttentionArguments& a_;
  const AttentionShape& s_;
  const AttentionGradients& gradients_;
  const BackwardBlock& task_;
  const RowBlock& block_;
  Buffer<double> decay_memory_;
  KeyHead head_;
  bool exact_, plain_, needs_q_;
  std::int64_t kept_;
  KeyChunks<Math> chunks_;
  QueryFeatures<Math> queries_;
  OutputGradient<Math> output_;
  MapBackward<Math> map_backward_;
  StateSum gradient_;
  FarKeys<Math> sinks_;
  std::int64_t strip_row_;
  Buffer<float> weights_, products_, value_gradients_, relative_;  // strips
  std::int64_t feature_row_, query_row_;
  Buffer<float> feature_gradients_, query_gradients_;
  KeyGradients keys_;
  Buffer<Number> states_;
  Buffer<float> state_z_, temporary_;
  Buffer<Number> memory_, key_map_memory_, query_maps_memory_;
  Buffer<View<Number>> query_maps_;
  Number *query_memory_, *dy_transposed_memory_, *dy_right_memory_, *query_transposed_memory_, *query_right_memory_,
      *features_memory_, *features_right_memory_, *strip_left_memory_, *strip_right_memory_, *state_left_memory_,
      *state_right_memory_, *state_transposed_memory_;
  View<Number> state_{}, key_map_{};  // of the tile: Sᵀ, a right side [D, F]
  const float* z_ = nullptr;          // of the tile's state; null: the tile has none
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

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

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// A tile's rows into the state's gradient: dS += φ(q)ᵀ rows, dz += φ(q)ᵀ last. phi [count, F] and, as a left side,
// phi_transposed [F, count]; rows a right side [count, D]; one number `last` a row.
template <class Math>
void add_rows(const KeyHead& head, std::int64_t count, View<float> phi, View<typename Math::Number> phi_transposed,
              View<typename Math::Number> rows, const float* last, StateSum& gradient) {
  Math::product(head.features, head.dim, count, phi_transposed, rows, gradient.s_memory(), gradient.s().row, Store::kAdd);
  for (std::int64_t r = 0; r < count; ++r) {
    scale_row(phi.data + r * phi.row, head.features, last[r], true, gradient.z_memory());
  }
}

// What rows of a tile's output give back: dy, the weights' sums and maxima, and with them the state's part.
class OutputGradient {
 public:
  OutputGradient(const BackwardArguments& arguments, const KeyHead& head)
      : arguments_(arguments), a_(arguments.forward), head_(head), stride_(padded(head.dim)), rows_(kTileRows * stride_) {}

  std::int64_t row_offset(std::int64_t h, std::int64_t i) const { return (head_.b * a_.shape.heads + h) * head_.length + i; }
  float row_max(std::int64_t h, std::int64_t i) const { return arguments_.row_max[row_offset(h, i)]; }
  float inverse_sum(std::int64_t h, std::int64_t i) const { return arguments_.inverse_sum[row_offset(h, i)]; }
  float log_scale(std::int64_t h, std::int64_t i) const {
    return a_.row_log_scale == nullptr ? 0 : a_.row_log_scale[row_offset(h, i)];
  }
  View<float> dy(std::int64_t h, std::int64_t i) const {
    return {arguments_.out_gradient.at(head_.b, h, i), arguments_.out_gradient.row};
  }

  // Takes up a tile of one head: y·dy of its rows.
  void set(const Tile& tile, std::int64_t h) {
    for (std::int64_t i = tile.t0; i < tile.t1; ++i) {
      dots_[i - tile.t0] = dot(arguments_.out.at(head_.b, h, i), arguments_.out_gradient.at(head_.b, h, i), head_.dim);
    }
  }
  float row_dot(const Tile& tile, std::int64_t i) const { return dots_[i - tile.t0]; }

  // rows() = factor · dy and last() = −factor · y·dy of the tile's rows, the factor of φ(q_i) S in y_i:
  // exp(ℓ_i − M_i + A_i − A_{n0−1}) / Σ, 0 where the row does not see the state.
  void set_state_rows(const Tile& tile, std::int64_t h) {
    for (std::int64_t i = tile.t0; i < tile.t1; ++i) {
      float factor = 0;
      if (row_ranges(head_, tile, i).state) {
        factor = std::exp(log_scale(h, i) - row_max(h, i) + head_.decay_between(tile.n0 - 1, i)) * inverse_sum(h, i);
      }
      set_row(tile, h, i, factor);
    }
  }
  // The same where the factor is 1/Σ in every row.
  void set_plain_rows(const Tile& tile, std::int64_t h) {
    for (std::int64_t i = tile.t0; i < tile.t1; ++i) set_row(tile, h, i, inverse_sum(h, i));
  }
  View<float> rows() const { return {rows_.get(), stride_}; }
  const float* last() const { return last_; }

 private:
  void set_row(const Tile& tile, std::int64_t h, std::int64_t i, float factor) {
    scale_row(arguments_.out_gradient.at(head_.b, h, i), head_.dim, factor, false, rows_.get() + (i - tile.t0) * stride_);
    last_[i - tile.t0] = -factor * row_dot(tile, i);
  }

  const BackwardArguments& arguments_;
  const AttentionArguments& a_;
  const KeyHead& head_;
  std::int64_t stride_;
  Buffer<float> rows_;
  float dots_[kTileRows], last_[kTileRows];
};

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
  OutputGradient output(arguments, head);
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
      const View<float> phi = queries.of(tile, h, q);
      output.set(tile, h);
      output.set_state_rows(tile, h);
      add_rows<Math>(head, rows, phi, Math::left_transposed_of_fp32(phi, rows, features, phi_memory.get(), scratch.get()),
                     Math::right_of_fp32(output.rows().data, output.rows().row, rows, dim, rows_memory.get()), output.last(),
                     gradient);
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
        chunks_(head_, kept_, exact_, true),
        queries_(head_, g * group(), (g + 1) * group()),
        output_(arguments, head_),
        gradient_(head_, task.state_gradient),
        sinks_(head_, a_.k, a_.v, s_.sinks),
        strip_row_(padded(kept_ * kTileRows + s_.sinks)),
        weights_(kTileRows * strip_row_),
        products_(s_.features > 0 && !plain_ ? kTileRows * strip_row_ : 1),
        value_gradients_(kTileRows * strip_row_),
        relative_(strip_row_),
        feature_row_(padded(s_.features)),
        query_gradients_(kTileRows * feature_row_),
        projected_(kTileRows * most(a_.map.width, 1)),
        sums_size_((s_.features + 2 * s_.dim) * kTileRows),
        sums_(kept_ * sums_size_),
        held_(kept_),
        states_(s_.features > 0 ? tile_count(block_) * state_size() : 1),
        temporary_(kTileRows * most(s_.dim, s_.features)),
        memory_(8 * kTileRows * even(most(most(s_.dim, s_.features), kTileRows)) + 3 * even(s_.features) * even(s_.dim)),
        key_map_memory_(2 * even(a_.map.width) * even(s_.dim)),
        query_maps_memory_(group() * even(a_.map.width) * s_.dim),
        query_maps_(group()) {
    for (std::int64_t slot = 0; slot < kept_; ++slot) held_.get()[slot] = -1;
    Number* memory = memory_.get();
    const std::int64_t wide = kTileRows * even(most(most(s_.dim, s_.features), kTileRows));
    for (Number** part : {&query_memory_, &dy_left_memory_, &dy_transposed_memory_, &query_transposed_memory_,
                          &features_memory_, &scratch_, &strip_left_memory_, &strip_right_memory_}) {
      *part = memory;
      memory += wide;
    }
    for (Number** part : {&state_memory_, &state_scratch_, &state_left_memory_}) {
      *part = memory;
      memory += even(s_.features) * even(s_.dim);
    }
    prepare_maps();
  }

  void run() {
    for (std::int64_t j = block_.begin; j < block_.end; ++j) {
      if (gradients_.k) fill_row(0, s_.dim, k_row(j));
      fill_row(0, s_.dim, v_row(j));
    }
    const std::int64_t tiles = tile_count(block_);
    if (s_.features > 0) {
      keep_states(tiles);
      give_to_keys(tile(tiles - 1).n0, task_.next_absorbed);
    }
    for (std::int64_t n = tiles - 1; n >= 0; --n) {
      const Tile now = tile(n);
      run_tile(now, states_.get() + (s_.features > 0 ? n * state_size() : 0));
      if (s_.features > 0 && n > 0) give_to_keys(tile(n - 1).n0, now.n0);
      finish_keys(chunk_of(now.t0));
    }
    for (std::int64_t chunk = chunk_of(block_.begin) - 1; chunk >= chunk_of(block_.absorbed) && chunk >= 0; --chunk) {
      if (held_.get()[chunk % kept_] == chunk) finish_keys(chunk);
    }
  }

 private:
  std::int64_t group() const { return s_.heads / s_.kv_heads; }
  std::int64_t state_size() const { return s_.features * padded(s_.dim) + s_.features; }
  Tile tile(std::int64_t n) const { return make_chunk_tile(head_, block_.begin + n * kTileRows); }

  // Where the gradients of key row j are summed: this block's rows are its own, earlier ones go into the task's memory.
  float* row_of(const Strided<float>& own, float* elsewhere, std::int64_t width, std::int64_t j) const {
    if (j >= block_.begin) return own.at(head_.b, head_.g, j);
    return elsewhere + task_.index(j) * width;
  }
  float* k_row(std::int64_t j) const { return row_of(gradients_.k, task_.k, s_.dim, j); }
  float* v_row(std::int64_t j) const { return row_of(gradients_.v, task_.v, s_.dim, j); }

  // W as right sides [M, D] for dx += du W, and for keys, whose du is transposed, Wᵀ as a left side [D, M].
  void prepare_maps() {
    const std::int64_t width = a_.map.width, size = even(width) * s_.dim;
    if (width == 0) return;
    key_map_ = Math::left_transposed_of_fp32({a_.map.k_weight + head_.g * width * s_.dim, s_.dim}, width, s_.dim,
                                             key_map_memory_.get(), key_map_memory_.get() + even(width) * even(s_.dim));
    for (std::int64_t n = 0; n < group(); ++n) {
      query_maps_.get()[n] = Math::right_of_fp32(a_.map.q_weight + (head_.g * group() + n) * width * s_.dim, s_.dim, width,
                                                 s_.dim, query_maps_memory_.get() + n * size);
    }
  }

  void keep_states(std::int64_t tiles) {
    ChunkState<Math> state(head_, chunks_, block_.absorbed, block_.state);
    for (std::int64_t n = 0; n < tiles; ++n) {
      state.absorb(tile(n).n0);
      float* to = states_.get() + n * state_size();
      const std::int64_t size = s_.features * padded(s_.dim);
      std::memcpy(to, state.sum().s().data, sizeof(float) * static_cast<std::size_t>(size));
      std::memcpy(to + size, state.sum().z(), sizeof(float) * static_cast<std::size_t>(s_.features));
    }
  }

  // A chunk's dφ(k)ᵀ, dkᵀ, dvᵀ, zeros when they are first asked for.
  float* sums(std::int64_t chunk) {
    const std::int64_t slot = chunk % kept_;
    float* memory = sums_.get() + slot * sums_size_;
    if (held_.get()[slot] != chunk) {
      held_.get()[slot] = chunk;
      std::memset(memory, 0, sizeof(float) * static_cast<std::size_t>(sums_size_));
    }
    return memory;
  }
  float* feature_sums(std::int64_t chunk) { return sums(chunk); }
  float* key_sums(std::int64_t chunk) { return sums(chunk) + s_.features * kTileRows; }
  float* value_sums(std::int64_t chunk) { return sums(chunk) + (s_.features + s_.dim) * kTileRows; }

  void run_tile(const Tile& tile, const float* state) {
    tile_decay(head_, tile, relative_.get());
    if (tile.sinks > 0) sinks_.set(tile.sink_begin, tile.sinks);
    const bool has_state = s_.features > 0 && tile.n0 > 0;
    if (has_state) {
      state_z_ = state + s_.features * padded(s_.dim);
      state_right_ = Math::right_transposed(Math::left(state, padded(s_.dim), s_.features, s_.dim, state_left_memory_),
                                            s_.features, s_.dim, s_.features, state_memory_);
    }
    for (std::int64_t h = head_.g * group(); h < (head_.g + 1) * group(); ++h) run_head(tile, h, has_state);
  }

  void run_head(const Tile& tile, std::int64_t h, bool has_state) {
    const std::int64_t rows = tile.t1 - tile.t0, linear_end = tile.t1 - s_.window, near = tile.near_column();
    View<Number> q{};
    if (needs_q_) q = Math::input(a_.q, head_.b, h, tile.t0, rows, s_.dim, query_memory_);
    View<float> phi{};
    View<Number> phi_transposed{};
    if (s_.features > 0) {
      phi = queries_.of(tile, h, q);
      near_products<Math>(
          tile, linear_end, s_.features, Math::left(phi.data, phi.row, rows, s_.features, scratch_),
          [this](std::int64_t chunk) { return chunks_.features(chunk); }, (plain_ ? weights_ : products_).get(), strip_row_);
      phi_transposed = Math::left_transposed_of_fp32(phi, rows, s_.features, features_memory_, scratch_);
    }
    if (exact_) {
      Math::product(rows, tile.sinks, s_.dim, q, sinks_.keys, weights_.get(), strip_row_, Store::kOverwrite);
      near_products<Math>(
          tile, tile.t1, s_.dim, q, [this](std::int64_t chunk) { return chunks_.keys(chunk); }, weights_.get(), strip_row_);
    }
    output_.set(tile, h);
    View<float> dy = output_.dy(h, tile.t0);
    if (plain_) {
      // All of a row's factors are one: 1/Σ, which dy can carry.
      output_.set_plain_rows(tile, h);
      dy = output_.rows();
    }
    const View<Number> dy_left = Math::left(dy.data, dy.row, rows, s_.dim, dy_left_memory_);
    Math::product(rows, tile.sinks, s_.dim, dy_left, sinks_.values_transposed, value_gradients_.get(), strip_row_,
                  Store::kOverwrite);
    near_products<Math>(
        tile, tile.t1, s_.dim, dy_left, [this](std::int64_t chunk) { return chunks_.values_transposed(chunk); },
        value_gradients_.get(), strip_row_);
    for (std::int64_t r = 0; r < rows; ++r) {
      // To the end of the row's step of keys.
      const std::int64_t visible = least(tile.t0 - tile.n0 + (r / kStepKeys + 1) * kStepKeys, tile.t1 - tile.n0);
      if (plain_) {
        plain_row(tile, r, visible);
      } else {
        row_gradients(tile, h, tile.t0 + r, near + visible);
      }
    }
    const View<Number> dy_transposed = Math::left_transposed_of_fp32(dy, rows, s_.dim, dy_transposed_memory_, scratch_);
    add_to_keys(tile, tile.t1, s_.dim, dy_transposed, weights_.get(), [this](std::int64_t chunk) { return value_sums(chunk); });
    add_to_sinks(tile, dy_transposed, weights_.get(), gradients_.v, task_.v);
    if (gradients_.q) exact_gradients(tile, h, q);
    if (s_.features > 0) linear_gradients(tile, h, q, phi, phi_transposed, linear_end, has_state);
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
      for (std::int64_t first = 0; first < columns; first += kStepKeys) {
        Math::product(width, least(kStepKeys, columns - first), rows - first, x.from(0, first), Math::part(right, first, first),
                      to + first, kTileRows, Store::kAdd);
      }
    }
  }

  // The same for far sinks, straight to their rows.
  void add_to_sinks(const Tile& tile, View<Number> x, const float* strip, const Strided<float>& own, float* elsewhere) {
    if (tile.sinks == 0) return;
    const std::int64_t rows = tile.t1 - tile.t0;
    for (std::int64_t begin = 0; begin < tile.sinks; begin += kTileRows) {
      const std::int64_t count = least(kTileRows, tile.sinks - begin);
      Math::product(s_.dim, count, rows, x, Math::right_of_fp32(strip + begin, strip_row_, rows, count, strip_right_memory_),
                    temporary_.get(), kTileRows, Store::kOverwrite);
      for (std::int64_t n = 0; n < count; ++n) {
        float* to = row_of(own, elsewhere, s_.dim, tile.sink_begin + begin + n);
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

  // weights := products up to the diagonal, value_gradients := (dy·v − y·dy) / Σ.
  void plain_row(const Tile& tile, std::int64_t r, std::int64_t visible) {
    const std::int64_t seen = tile.t0 - tile.n0 + r + 1;
    float *p = weights_.get() + r * strip_row_, *dp = value_gradients_.get() + r * strip_row_;
    shift_row(dp, seen, output_.last()[r]);
    fill_row(0, visible - seen, p + seen);
    fill_row(0, visible - seen, dp + seen);
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
      scaled_exponentials(p + begin, end - begin, s_.scale, top, p + begin);
      scale_row(p + begin, end - begin, inverse, false, p + begin);
      score_gradients(p + begin, dp + begin, end - begin, delta, s_.scale, dp + begin);
    };
    const auto nothing = [](float* x, std::int64_t begin, std::int64_t end) { fill_row(0, end - begin, x + begin); };
    exact(0, r.far);
    exact(r.exact_begin, r.linear_begin);
    exact(r.linear_end, r.row_end);
    if (s_.features > 0) {
      const float factor = std::exp(output_.log_scale(h, i) - top) * inverse;
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

  void exact_gradients(const Tile& tile, std::int64_t h, View<Number> q) {
    const std::int64_t rows = tile.t1 - tile.t0;
    float* dq = gradients_.q.at(head_.b, h, tile.t0);
    for (std::int64_t r = 0; r < rows; ++r) fill_row(0, s_.dim, dq + r * gradients_.q.row);
    if (!exact_) return;
    times_keys(
        tile, tile.t1, s_.dim, value_gradients_.get(), [this](std::int64_t chunk) { return chunks_.key_rows(chunk); }, dq,
        gradients_.q.row);
    for (std::int64_t begin = 0; begin < tile.sinks; begin += kTileRows) {
      const std::int64_t count = least(kTileRows, tile.sinks - begin);
      Math::product(rows, s_.dim, count,
                    Math::left(value_gradients_.get() + begin, strip_row_, rows, count, strip_left_memory_),
                    Math::part(sinks_.key_rows, begin, 0), dq, gradients_.q.row, Store::kAdd);
    }
    const View<Number> q_transposed = Math::left_transposed(q, rows, s_.dim, query_transposed_memory_, scratch_);
    add_to_keys(tile, tile.t1, s_.dim, q_transposed, value_gradients_.get(),
                [this](std::int64_t chunk) { return key_sums(chunk); });
    add_to_sinks(tile, q_transposed, value_gradients_.get(), gradients_.k, task_.k);
  }

  void linear_gradients(const Tile& tile, std::int64_t h, View<Number> q, View<float> phi, View<Number> phi_transposed,
                        std::int64_t linear_end, bool has_state) {
    const std::int64_t rows = tile.t1 - tile.t0;
    const float* strip = (plain_ ? value_gradients_ : products_).get();
    float* dphi = query_gradients_.get();
    std::memset(dphi, 0, sizeof(float) * static_cast<std::size_t>(rows * feature_row_));
    times_keys(
        tile, linear_end, s_.features, strip, [this](std::int64_t chunk) { return chunks_.feature_rows(chunk); }, dphi,
        feature_row_);
    add_to_keys(tile, linear_end, s_.features, phi_transposed, strip,
                [this](std::int64_t chunk) { return feature_sums(chunk); });
    if (has_state) {
      if (!plain_) output_.set_state_rows(tile, h);
      const View<float> given = output_.rows();
      Math::product(rows, s_.features, s_.dim, Math::left(given.data, given.row, rows, s_.dim, dy_left_memory_), state_right_,
                    dphi, feature_row_, Store::kAdd);
      for (std::int64_t r = 0; r < rows; ++r) {
        scale_row(state_z_, s_.features, output_.last()[r], true, dphi + r * feature_row_);
      }
      add_rows<Math>(head_, rows, phi, phi_transposed,
                     Math::right_of_fp32(given.data, given.row, rows, s_.dim, strip_right_memory_), output_.last(), gradient_);
    }
    finish_queries(tile, h, q, phi);
  }

  // dφ(q) is complete: to the caller, or through the map to dq, dW, db.
  void finish_queries(const Tile& tile, std::int64_t h, View<Number> q, View<float> phi) {
    const std::int64_t rows = tile.t1 - tile.t0, width = a_.map.width, n = h - head_.g * group();
    const float* dphi = query_gradients_.get();
    for (std::int64_t r = 0; r < rows; ++r) {
      const float *phi_row = phi.data + r * phi.row, *dphi_row = dphi + r * feature_row_;
      if (gradients_.q_dot != nullptr) {
        gradients_.q_dot[output_.row_offset(h, tile.t0 + r)] = dot(phi_row, dphi_row, s_.features);
      }
      if (width > 0) {
        float* du = projected_.get() + r * width;
        activate_row_backward(a_.map.activation, width, phi_row, dphi_row, du);
        scale_row(du, width, 1, true, task_.q_bias + n * width);
      } else {
        scale_row(dphi_row, s_.features, 1, false, gradients_.phi_q.at(head_.b, h, tile.t0 + r));
      }
    }
    if (width == 0) return;
    const View<float> du{projected_.get(), width};
    Math::product(rows, s_.dim, width, Math::left(du.data, du.row, rows, width, strip_left_memory_), query_maps_.get()[n],
                  gradients_.q.at(head_.b, h, tile.t0), gradients_.q.row, Store::kAdd);
    Math::product(width, s_.dim, rows, Math::left_transposed_of_fp32(du, rows, width, features_memory_, scratch_),
                  Math::right(q, rows, s_.dim, strip_right_memory_), task_.q_weight + n * width * s_.dim, s_.dim, Store::kAdd);
  }

  // All of a chunk's sums are there.
  void finish_keys(std::int64_t chunk) {
    const std::int64_t begin = chunk * kTileRows, rows = least(kTileRows, head_.length - begin);
    if (s_.features > 0) finish_features(chunk, begin, rows);
    if (gradients_.k) add_transposed(key_sums(chunk), rows, begin, gradients_.k, task_.k);
    add_transposed(value_sums(chunk), rows, begin, gradients_.v, task_.v);
  }

  void add_transposed(const float* sums, std::int64_t rows, std::int64_t begin, const Strided<float>& own, float* elsewhere) {
    transpose(s_.dim, rows, sums, kTileRows, temporary_.get(), s_.dim);
    for (std::int64_t r = 0; r < rows; ++r) {
      scale_row(temporary_.get() + r * s_.dim, s_.dim, 1, true, row_of(own, elsewhere, s_.dim, begin + r));
    }
  }

  void finish_features(std::int64_t chunk, std::int64_t begin, std::int64_t rows) {
    const std::int64_t width = a_.map.width;
    const View<Number> phi = chunks_.features_left(chunk);
    const float* dphi = feature_sums(chunk);
    if (gradients_.k_dot != nullptr) {
      float dots[kTileRows] = {};
      for (std::int64_t f = 0; f < s_.features; ++f) {
        multiply_add_row(phi.data + f * kTileRows, dphi + f * kTileRows, kTileRows, dots);
      }
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t j = begin + r;
        float* to = j >= block_.begin ? gradients_.k_dot + (head_.b * s_.kv_heads + head_.g) * s_.length + j
                                      : task_.k_dot + task_.index(j);
        *to = dots[r];
      }
    }
    if (width == 0) {
      transpose(s_.features, rows, dphi, kTileRows, temporary_.get(), s_.features);
      for (std::int64_t r = 0; r < rows; ++r) {
        scale_row(temporary_.get() + r * s_.features, s_.features, 1, false,
                  row_of(gradients_.phi_k, task_.phi_k, s_.features, begin + r));
      }
      return;
    }
    float* du = temporary_.get();  // [width, kTileRows], zeros behind the last row
    activate_columns_backward(a_.map.activation, width, kTileRows, phi.data, dphi, du);
    for (std::int64_t m = 0; m < width; ++m) task_.k_bias[m] += row_sum(du + m * kTileRows, rows);
    Math::product(s_.dim, rows, width, key_map_, Math::right_of_fp32(du, kTileRows, width, kTileRows, strip_right_memory_),
                  key_sums(chunk), kTileRows, Store::kAdd);
    Math::product(width, s_.dim, rows, Math::left(du, kTileRows, width, kTileRows, strip_left_memory_), chunks_.key_rows(chunk),
                  task_.k_weight, s_.dim, Store::kAdd);
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
        chunks_.values_transposed(chunk), feature_sums(chunk));
    for (std::int64_t f = 0; f < s_.features; ++f) {
      scale_row(weights, kTileRows, gradient_.z()[f], true, feature_sums(chunk) + f * kTileRows);
    }
    add(s_.dim, s_.features, Math::left_transposed_of_fp32(ds, s_.features, s_.dim, state_memory_, state_scratch_),
        chunks_.features(chunk), value_sums(chunk));
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
  OutputGradient output_;
  StateSum gradient_;
  FarKeys<Math> sinks_;
  std::int64_t strip_row_;
  Buffer<float> weights_, products_, value_gradients_, relative_;  // strips
  std::int64_t feature_row_;
  Buffer<float> query_gradients_, projected_;
  std::int64_t sums_size_;
  Buffer<float> sums_;
  Buffer<std::int64_t> held_;
  Buffer<float> states_, temporary_;
  Buffer<Number> memory_, key_map_memory_, query_maps_memory_;
  Buffer<View<Number>> query_maps_;
  Number *query_memory_, *dy_left_memory_, *dy_transposed_memory_, *query_transposed_memory_, *features_memory_, *scratch_,
      *strip_left_memory_, *strip_right_memory_, *state_memory_, *state_scratch_, *state_left_memory_;
  View<Number> state_right_{}, key_map_{};
  const float* state_z_ = nullptr;
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

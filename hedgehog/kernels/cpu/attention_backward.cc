// Backward of kernels/attention.h, a block of rows a task. Tiles of weights are recomputed from row_max and inverse_sum, from
// the last tile of a block to the first; the state before each tile is recomputed from the block's first.
#include "hedgehog/kernels/cpu/row_block.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/attention_backward.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/chunk_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// dS [F, stride] and dz [F], referenced as the state is: just before a key row.
class StateGradient {
 public:
  StateGradient(const KeyHead& head, const float* from)
      : head_(head), stride_(padded(head.dim)), s_(head.features * stride_), z_(head.features) {
    clear();
    carry_ = 1;
    for (std::int64_t f = 0; from != nullptr && f < head.features; ++f, from += head.dim + 1) {
      std::memcpy(s_.get() + f * stride_, from, sizeof(float) * static_cast<std::size_t>(head.dim));
      z_.get()[f] = from[head.dim];
    }
  }

  const float* s() const { return s_.get(); }
  const float* z() const { return z_.get(); }
  std::int64_t stride() const { return stride_; }
  float carry() const { return carry_; }

  // A tile's rows: dS += φ(q)ᵀ rows, dz += φ(q)ᵀ last; rows [count, row], one number `last` a row.
  void add(std::int64_t count, const float* phi, std::int64_t phi_row, const float* rows, std::int64_t row, const float* last) {
    gemm(head_.features, head_.dim, count, phi, 1, phi_row, rows, row, s_.get(), stride_, Store::kAdd);
    for (std::int64_t r = 0; r < count; ++r) scale_row(phi + r * phi_row, head_.features, last[r], true, z_.get());
  }

  // From just before key row `end` back over [begin, end), rows of one chunk.
  void step_back(std::int64_t begin, std::int64_t end) {
    if (head_.segment_of(least(end, head_.length - 1)) > begin) {
      clear();
    } else if (head_.decay != nullptr) {
      const float factor = std::exp(head_.decay_between(begin - 1, end - 1));
      carry_ *= factor;
      scale_row(s_.get(), head_.features * stride_, factor, false, s_.get());
      scale_row(z_.get(), head_.features, factor, false, z_.get());
    }
  }

  void write(float* to) const {
    for (std::int64_t f = 0; f < head_.features; ++f, to += head_.dim + 1) {
      std::memcpy(to, s_.get() + f * stride_, sizeof(float) * static_cast<std::size_t>(head_.dim));
      to[head_.dim] = z_.get()[f];
    }
  }

 private:
  void clear() {
    std::memset(s_.get(), 0, sizeof(float) * static_cast<std::size_t>(head_.features * stride_));
    std::memset(z_.get(), 0, sizeof(float) * static_cast<std::size_t>(head_.features));
    carry_ = 0;
  }

  const KeyHead& head_;
  std::int64_t stride_;
  Buffer<float> s_, z_;
  float carry_ = 1;
};

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
  const float* dy(std::int64_t h, std::int64_t i) const { return arguments_.out_gradient.at(head_.b, h, i); }
  std::int64_t dy_row() const { return arguments_.out_gradient.row; }
  // y_i·dy_i
  float row_dot(std::int64_t h, std::int64_t i) const {
    return dot(arguments_.out.at(head_.b, h, i), arguments_.out_gradient.at(head_.b, h, i), head_.dim);
  }

  // rows() = factor · dy and last() = −factor · y·dy of the tile's rows, the factor of φ(q_i) S in y_i:
  // exp(ℓ_i − M_i + A_i − A_{n0−1}) / Σ, 0 where the row does not see the state.
  void set(const Tile& tile, std::int64_t h) {
    for (std::int64_t i = tile.t0; i < tile.t1; ++i) {
      float factor = 0;
      if (row_ranges(head_, tile, i).state) {
        factor = std::exp(log_scale(h, i) - row_max(h, i) + head_.decay_between(tile.n0 - 1, i)) * inverse_sum(h, i);
      }
      scale_row(dy(h, i), head_.dim, factor, false, rows_.get() + (i - tile.t0) * stride_);
      last_[i - tile.t0] = -factor * row_dot(h, i);
    }
  }
  const float* rows() const { return rows_.get(); }
  const float* last() const { return last_; }
  std::int64_t stride() const { return stride_; }

 private:
  const BackwardArguments& arguments_;
  const AttentionArguments& a_;
  const KeyHead& head_;
  std::int64_t stride_;
  Buffer<float> rows_;
  float last_[kTileRows];
};

// Tiles of a block, first to last.
inline std::int64_t tile_count(const RowBlock& block) {
  return (block.end - block.begin + kTileRows - 1) / kTileRows;
}

// What the rows of a block alone leave in the state's gradient before its first near key, and how much of what later rows left
// there remains.
void absorb_row_gradients(const BackwardArguments& arguments, std::int64_t b, std::int64_t g, const RowBlock& block,
                          std::int64_t next_absorbed, float* to, float* carry) {
  const AttentionArguments& a = arguments.forward;
  const std::int64_t group = a.shape.heads / a.shape.kv_heads;
  Buffer<double> decay_memory(a.log_gate == nullptr ? 1 : a.shape.length);
  const KeyHead head(a, b, g, decay_memory.get());
  StateGradient gradient(head, nullptr);
  OutputGradient output(arguments, head);
  QueryFeatures<FullMath> queries(head, g * group, (g + 1) * group);
  std::int64_t at = next_absorbed;
  const auto back_to = [&](std::int64_t row) {
    for (; at > row; at = most(row, chunk_of(at - 1) * kTileRows)) {
      gradient.step_back(most(row, chunk_of(at - 1) * kTileRows), at);
    }
  };
  for (std::int64_t n = tile_count(block) - 1; n >= 0; --n) {
    const Tile tile = make_chunk_tile(head, block.begin + n * kTileRows);
    back_to(tile.n0);
    for (std::int64_t h = g * group; h < (g + 1) * group; ++h) {
      const View<float> phi = queries.of(tile, h, {a.q.at<float>(b, h, tile.t0), a.q.row});
      output.set(tile, h);
      gradient.add(tile.t1 - tile.t0, phi.data, phi.row, output.rows(), output.stride(), output.last());
    }
  }
  gradient.write(to);
  *carry = gradient.carry();
}

// One block's backward pass of one key/value head.
class BlockBackward {
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
        kept_(chunks_kept(s_)),
        chunks_(head_, kept_, exact_, true),
        queries_(head_, g * group(), (g + 1) * group()),
        output_(arguments, head_),
        gradient_(head_, task.state_gradient),
        strip_row_(padded(kept_ * kTileRows + s_.sinks)),
        feature_row_(padded(most(s_.features, 1))),
        weights_(kTileRows * strip_row_),
        products_(s_.features > 0 && !plain_ ? kTileRows * strip_row_ : 1),
        value_gradients_(kTileRows * strip_row_),
        relative_(strip_row_),
        sinks_(2 * s_.dim * padded(s_.sinks)),
        scaled_(kTileRows * padded(s_.dim)),
        query_gradients_(kTileRows * feature_row_),
        projected_(kTileRows * most(a_.map.width, 1)),
        key_gradients_(s_.features > 0 ? kept_ * kTileRows * feature_row_ : 1),
        held_(kept_),
        transposed_((s_.dim + 1) * feature_row_),
        rows_(kTileRows * padded(most(s_.dim, s_.features))),
        states_(s_.features > 0 ? tile_count(block_) * state_size() : 1) {
    for (std::int64_t slot = 0; slot < kept_; ++slot) held_.get()[slot] = -1;
  }

  void run() {
    clear_targets();
    const std::int64_t tiles = tile_count(block_);
    if (s_.features > 0) {
      keep_states(tiles);
      give_to_keys(tile(tiles - 1).n0, task_.next_absorbed);
    }
    for (std::int64_t n = tiles - 1; n >= 0; --n) {
      const Tile now = tile(n);
      run_tile(now, states_.get() + (s_.features > 0 ? n * state_size() : 0));
      if (s_.features == 0) continue;
      if (n > 0) give_to_keys(tile(n - 1).n0, now.n0);
      finish_keys(chunk_of(now.t0));
    }
    if (s_.features == 0) return;
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
  std::int64_t k_stride(std::int64_t j) const { return j >= block_.begin ? gradients_.k.row : s_.dim; }
  std::int64_t v_stride(std::int64_t j) const { return j >= block_.begin ? gradients_.v.row : s_.dim; }

  void clear_targets() {
    for (std::int64_t j = block_.begin; j < block_.end; ++j) {
      if (gradients_.k) fill_row(0, s_.dim, k_row(j));
      fill_row(0, s_.dim, v_row(j));
    }
  }

  void keep_states(std::int64_t tiles) {
    ChunkState<FullMath> state(head_, chunks_, block_.absorbed, block_.state);
    for (std::int64_t n = 0; n < tiles; ++n) {
      state.absorb(tile(n).n0);
      float* to = states_.get() + n * state_size();
      const std::int64_t size = s_.features * padded(s_.dim);
      std::memcpy(to, state.s(), sizeof(float) * static_cast<std::size_t>(size));
      std::memcpy(to + size, state.z(), sizeof(float) * static_cast<std::size_t>(s_.features));
    }
  }

  // dφ(k) of a chunk [kTileRows, feature_row_], zeros when it is first asked for.
  float* key_gradients(std::int64_t chunk) {
    const std::int64_t slot = chunk % kept_;
    float* memory = key_gradients_.get() + slot * kTileRows * feature_row_;
    if (held_.get()[slot] != chunk) {
      held_.get()[slot] = chunk;
      std::memset(memory, 0, sizeof(float) * static_cast<std::size_t>(kTileRows * feature_row_));
    }
    return memory;
  }

  // Calls body(first key row, keys, first row of the tile that sees them) for the near keys before `end`.
  template <class Body>
  void for_key_steps(const Tile& tile, std::int64_t end, const Body& body) {
    for (std::int64_t begin = tile.n0; begin < end;) {
      const bool before = begin + kTileRows <= tile.t0;
      const std::int64_t count = least(before ? kTileRows : kStepRows, end - begin);
      body(begin, count, before ? 0 : begin - tile.t0);
      begin += count;
    }
  }

  void run_tile(const Tile& tile, const float* state) {
    tile_decay(head_, tile, relative_.get());
    if (tile.sinks > 0) {
      transpose(tile.sinks, s_.dim, a_.k.at<float>(head_.b, head_.g, tile.sink_begin), a_.k.row, sinks_.get(),
                padded(s_.sinks));
      transpose(tile.sinks, s_.dim, head_.v + tile.sink_begin * head_.v_row, head_.v_row,
                sinks_.get() + s_.dim * padded(s_.sinks), padded(s_.sinks));
    }
    const bool has_state = s_.features > 0 && tile.n0 > 0;
    if (has_state) {
      transpose(s_.features, s_.dim, state, padded(s_.dim), transposed_.get(), feature_row_);
      std::memcpy(transposed_.get() + s_.dim * feature_row_, state + s_.features * padded(s_.dim),
                  sizeof(float) * static_cast<std::size_t>(s_.features));
    }
    for (std::int64_t h = head_.g * group(); h < (head_.g + 1) * group(); ++h) run_head(tile, h, has_state);
  }

  void run_head(const Tile& tile, std::int64_t h, bool has_state) {
    const std::int64_t rows = tile.t1 - tile.t0, linear_end = tile.t1 - s_.window, near = tile.near_column();
    const float* dy = output_.dy(h, tile.t0);
    std::int64_t dy_row = output_.dy_row();
    const View<float> q{a_.q.at<float>(head_.b, h, tile.t0), a_.q.row};
    const View<float> phi = s_.features > 0 ? queries_.of(tile, h, q) : View<float>{};
    float* products = plain_ ? weights_.get() : products_.get();
    if (s_.features > 0) {
      near_products<FullMath>(
          tile, linear_end, s_.features, phi, [this](std::int64_t chunk) { return chunks_.features(chunk); }, products,
          strip_row_);
    }
    if (exact_) strip_products(tile, q.data, q.row, sinks_.get(), weights_.get(), /*values=*/false);
    if (plain_) {
      // All of a row's factors are one: 1/Σ, which dy can carry.
      for (std::int64_t r = 0; r < rows; ++r) {
        scale_row(dy + r * dy_row, s_.dim, output_.inverse_sum(h, tile.t0 + r), false, scaled_.get() + r * padded(s_.dim));
      }
      dy = scaled_.get();
      dy_row = padded(s_.dim);
    }
    strip_products(tile, dy, dy_row, sinks_.get() + s_.dim * padded(s_.sinks), value_gradients_.get(), /*values=*/true);
    for_row_steps(tile, [&](std::int64_t first, std::int64_t count, std::int64_t visible) {
      for (std::int64_t r = first; r < first + count; ++r) {
        if (plain_) {
          plain_row(tile, h, r, visible);
        } else {
          row_gradients(tile, h, tile.t0 + r, near + visible);
        }
      }
    });
    // dv
    for_key_steps(tile, tile.t1, [&](std::int64_t j, std::int64_t count, std::int64_t first) {
      gemm(count, s_.dim, rows - first, weights_.get() + first * strip_row_ + near + (j - tile.n0), 1, strip_row_,
           dy + first * dy_row, dy_row, v_row(j), v_stride(j), Store::kAdd);
    });
    for (std::int64_t n = 0; n < tile.sinks; ++n) {
      gemm(1, s_.dim, rows, weights_.get() + n, 1, strip_row_, dy, dy_row, v_row(tile.sink_begin + n), s_.dim, Store::kAdd);
    }
    if (gradients_.q) exact_gradients(tile, h);
    if (s_.features > 0) linear_gradients(tile, h, phi.data, phi.row, linear_end, has_state);
  }

  // Products of rows with the tile's transposed keys or values: far sinks and near chunks.
  void strip_products(const Tile& tile, const float* x, std::int64_t x_row, const float* sinks, float* strip, bool values) {
    if (tile.sinks > 0) {
      gemm(tile.t1 - tile.t0, tile.sinks, s_.dim, x, x_row, 1, sinks, padded(s_.sinks), strip, strip_row_, Store::kOverwrite);
    }
    near_products<FullMath>(
        tile, tile.t1, s_.dim, {x, x_row},
        [&](std::int64_t chunk) {
          return values ? View<float>{chunks_.values_transposed(chunk), kTileRows} : chunks_.keys(chunk);
        },
        strip, strip_row_);
  }

  // weights := products up to the diagonal, value_gradients := (dy·v − y·dy) / Σ.
  void plain_row(const Tile& tile, std::int64_t h, std::int64_t r, std::int64_t visible) {
    const std::int64_t seen = tile.t0 - tile.n0 + r + 1, i = tile.t0 + r;
    float *p = weights_.get() + r * strip_row_, *dp = value_gradients_.get() + r * strip_row_;
    shift_row(dp, seen, -output_.inverse_sum(h, i) * output_.row_dot(h, i));
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
    const float top = output_.row_max(h, i), inverse = output_.inverse_sum(h, i), delta = output_.row_dot(h, i);
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
      const float factor = std::exp(log_scale_of(h, i) - top) * inverse;
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
  float log_scale_of(std::int64_t h, std::int64_t i) const { return output_.log_scale(h, i); }

  void exact_gradients(const Tile& tile, std::int64_t h) {
    const std::int64_t rows = tile.t1 - tile.t0, near = tile.near_column();
    float* dq = gradients_.q.at(head_.b, h, tile.t0);
    if (!exact_) {
      for (std::int64_t r = 0; r < rows; ++r) fill_row(0, s_.dim, dq + r * gradients_.q.row);
      return;
    }
    const float* strip = value_gradients_.get();
    for_row_steps(tile, [&](std::int64_t r, std::int64_t count, std::int64_t visible) {
      gemm(count, s_.dim, visible, strip + r * strip_row_ + near, strip_row_, 1, a_.k.at<float>(head_.b, head_.g, tile.n0),
           a_.k.row, dq + r * gradients_.q.row, gradients_.q.row, Store::kOverwrite);
    });
    const float* q = a_.q.at<float>(head_.b, h, tile.t0);
    if (tile.sinks > 0) {
      gemm(rows, s_.dim, tile.sinks, strip, strip_row_, 1, a_.k.at<float>(head_.b, head_.g, tile.sink_begin), a_.k.row, dq,
           gradients_.q.row, Store::kAdd);
    }
    for (std::int64_t n = 0; n < tile.sinks; ++n) {
      gemm(1, s_.dim, rows, strip + n, 1, strip_row_, q, a_.q.row, k_row(tile.sink_begin + n), s_.dim, Store::kAdd);
    }
    for_key_steps(tile, tile.t1, [&](std::int64_t j, std::int64_t count, std::int64_t first) {
      gemm(count, s_.dim, rows - first, strip + first * strip_row_ + near + (j - tile.n0), 1, strip_row_, q + first * a_.q.row,
           a_.q.row, k_row(j), k_stride(j), Store::kAdd);
    });
  }

  void linear_gradients(const Tile& tile, std::int64_t h, const float* phi, std::int64_t phi_row, std::int64_t linear_end,
                        bool has_state) {
    const std::int64_t rows = tile.t1 - tile.t0;
    const float* strip = (plain_ ? value_gradients_.get() : products_.get()) + tile.near_column();
    float* dphi = query_gradients_.get();
    Store store = Store::kOverwrite;
    if (linear_end <= tile.n0) std::memset(dphi, 0, sizeof(float) * static_cast<std::size_t>(rows * feature_row_));
    for (std::int64_t begin = tile.n0; begin < linear_end; begin += kTileRows) {
      const float* keys = chunks_.feature_rows(chunk_of(begin));
      if (begin + kTileRows <= tile.t0) {
        gemm(rows, s_.features, least(kTileRows, linear_end - begin), strip + (begin - tile.n0), strip_row_, 1, keys,
             s_.features, dphi, feature_row_, store);
      } else {
        for_row_steps(tile, [&](std::int64_t r, std::int64_t count, std::int64_t visible) {
          const std::int64_t columns = least(tile.n0 + visible, linear_end) - begin;
          gemm(count, s_.features, most(0, columns), strip + r * strip_row_ + (begin - tile.n0), strip_row_, 1, keys,
               s_.features, dphi + r * feature_row_, feature_row_, store);
        });
      }
      store = Store::kAdd;
    }
    for_key_steps(tile, linear_end, [&](std::int64_t j, std::int64_t count, std::int64_t first) {
      gemm(count, s_.features, rows - first, strip + first * strip_row_ + (j - tile.n0), 1, strip_row_, phi + first * phi_row,
           phi_row, key_gradients(chunk_of(j)) + j % kTileRows * feature_row_, feature_row_, Store::kAdd);
    });
    if (has_state) {
      output_.set(tile, h);
      gemm(rows, s_.features, s_.dim, output_.rows(), output_.stride(), 1, transposed_.get(), feature_row_, dphi, feature_row_,
           Store::kAdd);
      for (std::int64_t r = 0; r < rows; ++r) {
        scale_row(transposed_.get() + s_.dim * feature_row_, s_.features, output_.last()[r], true, dphi + r * feature_row_);
      }
      gradient_.add(rows, phi, phi_row, output_.rows(), output_.stride(), output_.last());
    }
    finish_queries(tile, h, phi, phi_row);
  }

  void finish_queries(const Tile& tile, std::int64_t h, const float* phi, std::int64_t phi_row) {
    const std::int64_t rows = tile.t1 - tile.t0, width = a_.map.width;
    const float* dphi = query_gradients_.get();
    for (std::int64_t r = 0; r < rows; ++r) {
      if (gradients_.q_dot != nullptr) {
        gradients_.q_dot[output_.row_offset(h, tile.t0 + r)] = dot(phi + r * phi_row, dphi + r * feature_row_, s_.features);
      }
      if (width > 0) {
        activate_row_backward(a_.map.activation, width, phi + r * phi_row, dphi + r * feature_row_,
                              projected_.get() + r * width);
      } else {
        scale_row(dphi + r * feature_row_, s_.features, 1, false, gradients_.phi_q.at(head_.b, h, tile.t0 + r));
      }
    }
    if (width == 0) return;
    const std::int64_t n = h - head_.g * group();
    map_gradients(rows, a_.map.q_weight + h * width * s_.dim, a_.q.at<float>(head_.b, h, tile.t0), a_.q.row,
                  gradients_.q.at(head_.b, h, tile.t0), gradients_.q.row, task_.q_weight + n * width * s_.dim,
                  task_.q_bias + n * width);
  }

  // From du (projected_): dx += du W, dW += duᵀ x, db += Σ du.
  void map_gradients(std::int64_t rows, const float* weight, const float* x, std::int64_t x_row, float* dx, std::int64_t dx_row,
                     float* weight_gradient, float* bias_gradient) {
    const std::int64_t width = a_.map.width;
    gemm(rows, s_.dim, width, projected_.get(), width, 1, weight, s_.dim, dx, dx_row, Store::kAdd);
    gemm(width, s_.dim, rows, projected_.get(), 1, width, x, x_row, weight_gradient, s_.dim, Store::kAdd);
    for (std::int64_t r = 0; r < rows; ++r) scale_row(projected_.get() + r * width, width, 1, true, bias_gradient);
  }

  // All that chunk's dφ(k) is there.
  void finish_keys(std::int64_t chunk) {
    const std::int64_t begin = chunk * kTileRows, rows = least(kTileRows, head_.length - begin), width = a_.map.width;
    const float *phi = chunks_.feature_rows(chunk), *dphi = key_gradients(chunk);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t j = begin + r;
      if (gradients_.k_dot != nullptr) {
        float* to = j >= block_.begin ? gradients_.k_dot + (head_.b * s_.kv_heads + head_.g) * s_.length + j
                                      : task_.k_dot + task_.index(j);
        *to = dot(phi + r * s_.features, dphi + r * feature_row_, s_.features);
      }
      if (width > 0) {
        activate_row_backward(a_.map.activation, width, phi + r * s_.features, dphi + r * feature_row_,
                              projected_.get() + r * width);
      } else {
        scale_row(dphi + r * feature_row_, s_.features, 1, false, row_of(gradients_.phi_k, task_.phi_k, s_.features, j));
      }
    }
    if (width == 0) return;
    map_gradients(rows, a_.map.k_weight + head_.g * width * s_.dim, a_.k.at<float>(head_.b, head_.g, begin), a_.k.row,
                  k_row(begin), k_stride(begin), task_.k_weight, task_.k_bias);
  }

  // The reverse of ChunkState::absorb over key rows [begin, end): their gradients, then dS back to row begin − 1.
  void give_to_keys(std::int64_t begin, std::int64_t end) {
    for (std::int64_t a1 = end; a1 > begin;) {
      const std::int64_t a0 = most(begin, chunk_of(a1 - 1) * kTileRows);
      const std::int64_t start = head_.segment_of(least(a1, s_.length - 1)), first = clamp(start + s_.sinks, a0, a1);
      if (first < a1) give_to_rows(first, a1);
      gradient_.step_back(a0, a1);
      a1 = a0;
    }
  }

  // dφ(k_j) += weight · (dS v_j + dz), dv_j += weight · dSᵀ φ(k_j) for rows of one chunk.
  void give_to_rows(std::int64_t first, std::int64_t end) {
    const std::int64_t chunk = chunk_of(first), at = first - chunk * kTileRows, rows = end - first;
    transpose(s_.features, s_.dim, gradient_.s(), gradient_.stride(), transposed_.get(), feature_row_);
    float* dphi = key_gradients(chunk) + at * feature_row_;
    const float *values = head_.v + first * head_.v_row, *phi = chunks_.feature_rows(chunk) + at * s_.features;
    std::int64_t values_row = head_.v_row, phi_row = s_.features;
    float weights[kTileRows];
    for (std::int64_t j = 0; j < rows; ++j) {
      weights[j] = head_.decay == nullptr ? 1.0f : std::exp(head_.decay_between(first + j, end - 1));
      scale_row(gradient_.z(), s_.features, weights[j], true, dphi + j * feature_row_);
    }
    if (head_.decay != nullptr) {
      values_row = padded(s_.dim);
      for (std::int64_t j = 0; j < rows; ++j) {
        scale_row(values + j * head_.v_row, s_.dim, weights[j], false, rows_.get() + j * values_row);
      }
      values = rows_.get();
    }
    gemm(rows, s_.features, s_.dim, values, values_row, 1, transposed_.get(), feature_row_, dphi, feature_row_, Store::kAdd);
    if (head_.decay != nullptr) {
      phi_row = padded(s_.features);
      for (std::int64_t j = 0; j < rows; ++j) {
        scale_row(phi + j * s_.features, s_.features, weights[j], false, rows_.get() + j * phi_row);
      }
      phi = rows_.get();
    }
    gemm(rows, s_.dim, s_.features, phi, phi_row, 1, gradient_.s(), gradient_.stride(), v_row(first), v_stride(first),
         Store::kAdd);
  }

  const AttentionArguments& a_;
  const AttentionShape& s_;
  const AttentionGradients& gradients_;
  const BackwardBlock& task_;
  const RowBlock& block_;
  Buffer<double> decay_memory_;
  KeyHead head_;
  bool exact_, plain_;
  std::int64_t kept_;
  KeyChunks<FullMath> chunks_;
  QueryFeatures<FullMath> queries_;
  OutputGradient output_;
  StateGradient gradient_;
  std::int64_t strip_row_, feature_row_;
  Buffer<float> weights_, products_, value_gradients_, relative_, sinks_, scaled_, query_gradients_, projected_, key_gradients_;
  Buffer<std::int64_t> held_;
  Buffer<float> transposed_, rows_, states_;
};

void block_backward(const BackwardArguments& arguments, std::int64_t b, std::int64_t g, const BackwardBlock& task) {
  BlockBackward(arguments, b, g, task).run();
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "hedgehog/kernels/cpu/bidirectional.h"

#include <algorithm>
#include <utility>

namespace hedgehog::kernels {

HWY_EXPORT(absorb_row_gradients);
HWY_EXPORT(block_backward);

namespace {

// The tasks of one call, and their memory.
class BackwardPlan {
 public:
  BackwardPlan(const BackwardArguments& arguments, const ParallelFor& parallel_for)
      : arguments_(arguments), a_(arguments.forward), s_(a_.shape), parallel_for_(parallel_for) {
    blocks_ = s_.features > 0 ? row_blocks(s_) : std::vector<RowBlock>{{0, s_.length, 0, nullptr}};
    count_ = static_cast<std::int64_t>(blocks_.size());
    if (count_ > 1) {
      states_ = block_states(a_, blocks_, parallel_for);
      sum_state_gradients();
    }
    plan_tasks();
  }

  void run() {
    parallel_for_(heads() * count_, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t task = begin; task < end; ++task) {
        const std::int64_t head = task / count_;
        HWY_DYNAMIC_DISPATCH(block_backward)
        (arguments_, head / s_.kv_heads, head % s_.kv_heads, tasks_[static_cast<std::size_t>(task)]);
      }
    });
    parallel_for_(heads(), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t head = begin; head < end; ++head) add_earlier_rows(head);
    });
    if (width() > 0) sum_maps();
  }

 private:
  std::int64_t heads() const { return s_.batch * s_.kv_heads; }
  std::int64_t group() const { return s_.heads / s_.kv_heads; }
  std::int64_t width() const { return a_.map.width; }
  std::int64_t state_size() const { return s_.features * (s_.dim + 1); }
  const RowBlock& block(std::int64_t n) const { return blocks_[static_cast<std::size_t>(n)]; }
  const BackwardBlock& task(std::int64_t head, std::int64_t n) const {
    return tasks_[static_cast<std::size_t>(head * count_ + n)];
  }
  std::int64_t next_absorbed(std::int64_t n) const {
    if (n + 1 < count_) return block(n + 1).absorbed;
    return first_near_row(s_, block(n).begin + (block(n).end - block(n).begin - 1) / kChunkRows * kChunkRows);
  }

  // What block n leaves in the gradient of the state that it begins with stands at block n − 1.
  void sum_state_gradients() {
    const std::int64_t size = state_size();
    state_gradients_.resize(static_cast<std::size_t>(heads() * count_ * size));
    std::vector<float> carries(static_cast<std::size_t>(heads() * count_));
    parallel_for_(heads() * (count_ - 1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t task = begin; task < end; ++task) {
        const std::int64_t head = task / (count_ - 1), n = task % (count_ - 1) + 1;
        HWY_DYNAMIC_DISPATCH(absorb_row_gradients)
        (arguments_, head / s_.kv_heads, head % s_.kv_heads, block(n), next_absorbed(n),
         state_gradients_.data() + (head * count_ + n - 1) * size, carries.data() + head * count_ + n);
      }
    });
    parallel_for_(heads(), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t head = begin; head < end; ++head) {
        for (std::int64_t n = count_ - 2; n > 0; --n) {
          const float carry = carries[static_cast<std::size_t>(head * count_ + n)];
          float* to = state_gradients_.data() + (head * count_ + n - 1) * size;
          for (std::int64_t i = 0; i < size; ++i) to[i] += carry * to[size + i];
        }
      }
    });
  }

  void plan_tasks() {
    const std::int64_t rows = (s_.window > 0 ? s_.window + kChunkRows : 0) + s_.sinks, map = width() * (s_.dim + 1);
    const std::int64_t size = rows * (2 * s_.dim + s_.features + 1) + map * (group() + 1);
    memory_.resize(static_cast<std::size_t>(heads() * count_ * size));
    for (std::int64_t head = 0; head < heads(); ++head) {
      for (std::int64_t n = 0; n < count_; ++n) {
        float* memory = memory_.data() + (head * count_ + n) * size;
        const auto take = [&memory](std::int64_t count) { return std::exchange(memory, memory + count); };
        BackwardBlock task{};
        task.rows = block(n);
        if (n > 0) task.rows.state = states_.data() + (head * count_ + n) * state_size();
        if (n + 1 < count_) task.state_gradient = state_gradients_.data() + (head * count_ + n) * state_size();
        task.next_absorbed = s_.features > 0 ? next_absorbed(n) : 0;
        if (a_.segment_start != nullptr)
          task.sink_begin = a_.segment_start[head / s_.kv_heads * s_.length + task.rows.absorbed];
        task.k = take(rows * s_.dim);
        task.v = take(rows * s_.dim);
        task.phi_k = take(rows * s_.features);
        task.k_dot = take(rows);
        task.q_weight = take(group() * width() * s_.dim);
        task.q_bias = take(group() * width());
        task.k_weight = take(width() * s_.dim);
        task.k_bias = take(width());
        tasks_.push_back(task);
      }
    }
  }

  // Key rows that later blocks have seen, in the order of the blocks.
  void add_earlier_rows(std::int64_t head) {
    const AttentionGradients& to = arguments_.gradients;
    const std::int64_t b = head / s_.kv_heads, g = head % s_.kv_heads;
    const auto add = [](const float* from, std::int64_t count, float* row) {
      for (std::int64_t i = 0; i < count; ++i) row[i] += from[i];
    };
    for (std::int64_t n = 1; n < count_; ++n) {
      const BackwardBlock& from = task(head, n);
      const auto add_row = [&](std::int64_t j) {
        const std::int64_t at = from.index(j);
        add(from.v + at * s_.dim, s_.dim, to.v.at(b, g, j));
        if (to.k) add(from.k + at * s_.dim, s_.dim, to.k.at(b, g, j));
        if (to.phi_k) add(from.phi_k + at * s_.features, s_.features, to.phi_k.at(b, g, j));
        if (to.k_dot != nullptr) to.k_dot[head * s_.length + j] += from.k_dot[at];
      };
      for (std::int64_t j = from.rows.absorbed; j < from.rows.begin; ++j) add_row(j);
      for (std::int64_t j = from.sink_begin; j < std::min(from.sink_begin + s_.sinks, from.rows.absorbed); ++j) add_row(j);
    }
  }

  void sum_maps() {
    const AttentionGradients& to = arguments_.gradients;
    parallel_for_(s_.kv_heads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t g = begin; g < end; ++g) {
        const auto sum = [&](float* BackwardBlock::*from, std::int64_t count, float* sums) {
          std::fill_n(sums, count, 0.0f);
          for (std::int64_t b = 0; b < s_.batch; ++b) {
            for (std::int64_t n = 0; n < count_; ++n) {
              const float* part = task(b * s_.kv_heads + g, n).*from;
              for (std::int64_t i = 0; i < count; ++i) sums[i] += part[i];
            }
          }
        };
        const std::int64_t size = width() * s_.dim;
        sum(&BackwardBlock::q_weight, group() * size, to.q_weight + g * group() * size);
        sum(&BackwardBlock::q_bias, group() * width(), to.q_bias + g * group() * width());
        sum(&BackwardBlock::k_weight, size, to.k_weight + g * size);
        sum(&BackwardBlock::k_bias, width(), to.k_bias + g * width());
      }
    });
  }

  const BackwardArguments& arguments_;
  const AttentionArguments& a_;
  const AttentionShape& s_;
  const ParallelFor& parallel_for_;
  std::vector<RowBlock> blocks_;
  std::int64_t count_ = 0;
  std::vector<float> states_, state_gradients_, memory_;
  std::vector<BackwardBlock> tasks_;
};

}  // namespace

void attention_backward(const AttentionArguments& arguments, Strided<const float> out, Strided<const float> out_gradient,
                        const float* row_max, const float* inverse_sum, const AttentionGradients& gradients,
                        const ParallelFor& parallel_for) {
  if (!arguments.shape.causal) {
    return bidirectional_backward(arguments, out, out_gradient, inverse_sum, gradients, parallel_for);
  }
  const BackwardArguments call{arguments, out, out_gradient, row_max, inverse_sum, gradients};
  BackwardPlan(call, parallel_for).run();
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE

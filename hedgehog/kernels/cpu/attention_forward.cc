// Forward of kernels/attention.h: a tile of query rows at a time, weights of a tile only, the linear state carried along.
#include "hedgehog/kernels/cpu/instruction_set.h"
#include "hedgehog/kernels/cpu/row_block.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/attention_forward.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/chunk_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// Query heads [first_head, last_head) of one key/value head.
template <class Math>
class HeadForward {
  using Number = typename Math::Number;

 public:
  HeadForward(const AttentionArguments& arguments, const MutableRows& out, float* row_max, float* inverse_sum, std::int64_t b,
              std::int64_t g, std::int64_t first_head, std::int64_t last_head, const RowBlock& block)
      : a_(arguments),
        s_(arguments.shape),
        out_(out),
        row_max_(row_max),
        inverse_sum_(inverse_sum),
        first_head_(first_head),
        last_head_(last_head),
        decay_memory_(a_.log_gate == nullptr ? 1 : s_.length),
        head_(a_, b, g, decay_memory_.get()),
        exact_(s_.window > 0 || s_.sinks > 0 || a_.prefix_rows > 0 || all_keys_exact(s_)),
        chunks_(head_, chunks_kept(s_), {.keys = exact_}),
        state_(head_, chunks_, block.absorbed, block.state),
        block_(block),
        strip_row_(padded(chunks_kept(s_) * kTileRows + s_.sinks + a_.prefix_rows)),
        out_row_(padded(s_.dim)),
        scores_(kTileRows * strip_row_),
        products_(exact_ && s_.features > 0 ? kTileRows * strip_row_ : 1),
        numerator_(kTileRows * out_row_),
        from_state_(s_.features > 0 ? kTileRows * out_row_ : 1),
        relative_(strip_row_),
        queries_(head_, first_head, last_head),
        query_memory_(kTileRows * even(s_.dim)),
        left_memory_(Math::kPair > 1 ? most(kStepRows * even(strip_row_), kTileRows * kStripColumns) : 1),
        prefix_(head_, a_.prefix_k, a_.prefix_v, a_.prefix_rows),
        sinks_(head_, a_.k, a_.v, s_.sinks) {
    if (a_.prefix_rows > 0) prefix_.set(0, a_.prefix_rows);
  }

  // kept: AttentionArguments::block_states of this head, for all of the sequence; step: rows between two of them. Null: none.
  void run(float* state_out, std::int64_t absorb_end, float* kept, std::int64_t step) {
    if (!s_.causal) return run_bidirectional();
    for (std::int64_t t0 = block_.begin; t0 < block_.end;) {
      const Tile tile = make_chunk_tile(head_, t0);
      if (s_.features > 0) state_.absorb(tile.n0);
      if (kept != nullptr && t0 % step == 0) state_.sum().write(kept + t0 / step * s_.features * (s_.dim + 1));
      tile_decay(head_, tile, relative_.get());
      if (tile.sinks > 0) sinks_.set(tile.sink_begin, tile.sinks);
      for (std::int64_t h = first_head_; h < last_head_; ++h) run_tile(tile, h);
      t0 = tile.t1;
    }
    if (state_out == nullptr) return;
    state_.absorb(absorb_end);
    state_.sum().write(state_out);
  }

 private:
  // Every row of a document sees all of its keys, padding left out.
  void run_bidirectional() {
    for (std::int64_t begin = 0; begin < s_.length;) {
      const std::int64_t end = head_.document_end(begin);
      state_.restart();
      for_chunks(begin, head_.keys_end(begin, end), [this](std::int64_t first, std::int64_t last) { state_.add(first, last); });
      for_chunks(begin, end, [this](std::int64_t t0, std::int64_t t1) {
        Tile tile{};
        tile.t0 = tile.n0 = t0;
        tile.t1 = t1;
        for (std::int64_t h = first_head_; h < last_head_; ++h) run_bidirectional_tile(tile, h);
      });
      begin = end;
    }
  }

  void run_bidirectional_tile(const Tile& tile, std::int64_t h) {
    const std::int64_t rows = tile.t1 - tile.t0, row_offset = (head_.b * s_.heads + h) * s_.length + tile.t0;
    View<Number> q{};
    if (a_.map.width > 0) q = Math::input(a_.q, head_.b, h, tile.t0, rows, s_.dim, query_memory_.get());
    const View<Number> phi = queries_.of(tile, h, q);
    Math::product(rows, s_.dim, s_.features, phi, state_.right(), numerator_.get(), out_row_, Store::kOverwrite);
    for (std::int64_t r = 0; r < rows; ++r) {
      keep_maximum(row_offset + r, 0);
      write_output(r, dot_of(phi.data + r * phi.row, state_.sum().z(), s_.features), row_offset, h, tile.t0);
    }
  }

  void keep_maximum(std::int64_t at, float maximum) {
    if (row_max_ != nullptr) row_max_[at] = maximum;
  }

  // Row r of the numerator, divided by its sum.
  void write_output(std::int64_t r, float sum, std::int64_t row_offset, std::int64_t h, std::int64_t first_row) {
    const float inverse = inverse_or_zero(sum);
    if (inverse_sum_ != nullptr) inverse_sum_[row_offset + r] = inverse;
    write_row(numerator_.get() + r * out_row_, s_.dim, inverse, out_, head_.b, h, first_row + r);
  }

  void run_tile(const Tile& tile, std::int64_t h) {
    const std::int64_t rows = tile.t1 - tile.t0, q0 = tile.t0 - s_.query_begin;
    const std::int64_t row_offset = (head_.b * s_.heads + h) * s_.query_rows() + q0;
    const bool linear = s_.features > 0;
    View<Number> q{};
    if (exact_ || a_.map.width > 0) q = Math::input(a_.q, head_.b, h, q0, rows, s_.dim, query_memory_.get());
    // Without exact keys the products are the weights, but for the gate.
    float* products = exact_ ? products_.get() : scores_.get();
    View<Number> phi{};
    if (linear) {
      phi = queries_.of(tile, h, q);
      near_products<Math>(
          tile, tile.t1 - s_.window, s_.features, phi, [this](std::int64_t chunk) { return chunks_.features(chunk); }, products,
          strip_row_);
    }
    float factors[kTileRows], sums[kTileRows];
    // Pure linear attention of one document without a gate: a row's weights are its products up to the diagonal.
    const bool plain = !exact_ && head_.decay == nullptr && head_.segment == nullptr && a_.row_log_scale == nullptr;
    if (plain) {
      const auto weights =
          Math::causal(scores_.get(), strip_row_, rows, tile.t0 - tile.n0 + 1, nullptr, sums, left_memory_.get(), nullptr);
      for (std::int64_t r = 0; r < rows; ++r) keep_maximum(row_offset + r, 0);
      for_row_steps(tile, [&](std::int64_t r, std::int64_t count, std::int64_t visible) {
        Math::product(count, s_.dim, visible, weights.left.from(r, 0), chunks_.values(chunk_of(tile.n0)),
                      numerator_.get() + r * out_row_, out_row_, Store::kOverwrite);
      });
    } else {
      if (exact_) exact_scores(tile, q);
      for_row_steps(tile, [&](std::int64_t first, std::int64_t count, std::int64_t visible) {
        for (std::int64_t r = first; r < first + count; ++r) {
          sums[r] = weigh_row(tile, tile.t0 + r, row_offset + r, visible, scores_.get() + r * strip_row_,
                              products + r * strip_row_, factors + r);
        }
      });
      weighted_values(tile);
    }
    if (linear && !state_.sum().empty()) add_state(rows, phi, plain ? nullptr : factors, sums);
    for (std::int64_t r = 0; r < rows; ++r) write_output(r, sums[r], row_offset, h, q0);
  }

  // numerator += factor · φ(q) S, sums += factor · φ(q)·z; null: all factors are 1.
  void add_state(std::int64_t rows, View<Number> phi, const float* factors, float* sums) {
    float* to = factors == nullptr ? numerator_.get() : from_state_.get();
    Math::product(rows, s_.dim, s_.features, phi, state_.right(), to, out_row_,
                  factors == nullptr ? Store::kAdd : Store::kOverwrite);
    for (std::int64_t r = 0; r < rows; ++r) {
      const float factor = factors == nullptr ? 1 : factors[r];
      sums[r] += factor * dot_of(phi.data + r * phi.row, state_.sum().z(), s_.features);
      if (factors != nullptr) scale_row(to + r * out_row_, s_.dim, factor, true, numerator_.get() + r * out_row_);
    }
  }

  void exact_scores(const Tile& tile, View<Number> q) {
    const std::int64_t rows = tile.t1 - tile.t0;
    Math::product(rows, tile.prefix, s_.dim, q, prefix_.keys, scores_.get(), strip_row_, Store::kOverwrite);
    Math::product(rows, tile.sinks, s_.dim, q, sinks_.keys, scores_.get() + tile.prefix, strip_row_, Store::kOverwrite);
    near_products<Math>(
        tile, tile.t1, s_.dim, q, [this](std::int64_t chunk) { return chunks_.keys(chunk); }, scores_.get(), strip_row_);
  }

  // Turns the scores and feature products of row i into unnormalised weights in `scores`, with the row's maximum taken out, and
  // zeros up to the near column `visible`. Returns their sum; `state_factor`: what the state's part is multiplied by.
  float weigh_row(const Tile& tile, std::int64_t i, std::int64_t at, std::int64_t visible, float* scores, const float* products,
                  float* state_factor) {
    const RowRanges r = row_ranges(head_, tile, i);
    const bool linear = s_.features > 0 && (r.state || r.linear_end > r.linear_begin);
    const std::int64_t near = tile.near_column();
    const float log_scale = (a_.row_log_scale == nullptr ? 0 : a_.row_log_scale[at]) + queries_.log_scales()[i - tile.t0];
    float top = linear ? log_scale : -3.0e38f;
    const auto raise = [&](std::int64_t begin, std::int64_t end) {
      if (begin < end) top = most_of(top, s_.scale * row_maximum(scores + begin, end - begin, -3.0e38f));
    };
    raise(0, r.far);
    raise(r.exact_begin, r.linear_begin);
    raise(r.linear_end, r.row_end);
    float sum = 0;
    const auto exact = [&](std::int64_t begin, std::int64_t end) {
      if (begin < end) sum += exponentials(scores + begin, end - begin, s_.scale, top, scores + begin);
    };
    exact(0, r.far);
    fill_row(0, r.exact_begin - r.far, scores + r.far);
    exact(r.exact_begin, r.linear_begin);
    const float factor = std::exp(log_scale - top);
    if (linear) {
      const float* keys = head_.decay == nullptr ? nullptr : relative_.get() + (r.linear_begin - near);
      const float own = head_.decay == nullptr ? 0 : relative_.get()[i - tile.n0];
      sum +=
          linear_weights(products + r.linear_begin, r.linear_end - r.linear_begin, keys, own, factor, scores + r.linear_begin);
    } else {
      fill_row(0, r.linear_end - r.linear_begin, scores + r.linear_begin);
    }
    exact(r.linear_end, r.row_end);
    fill_row(0, near + visible - r.row_end, scores + r.row_end);
    keep_maximum(at, top);
    *state_factor = r.state ? factor * std::exp(head_.decay_between(tile.n0 - 1, i)) : 0;
    return sum;
  }

  static float most_of(float x, float y) { return x > y ? x : y; }

  // numerator [rows, D] = weights times the values of the tile's keys.
  void weighted_values(const Tile& tile) {
    const std::int64_t near = tile.near_column();
    for_row_steps(tile, [&](std::int64_t r, std::int64_t count, std::int64_t visible) {
      const float* weights = scores_.get() + r * strip_row_;
      float* to = numerator_.get() + r * out_row_;
      const auto add = [&](std::int64_t column, std::int64_t columns, View<Number> values, Store store) {
        if (columns <= 0) return;
        Math::product(count, s_.dim, columns, Math::left(weights + column, strip_row_, count, columns, left_memory_.get()),
                      values, to, out_row_, store);
      };
      for (std::int64_t column = 0; column < visible; column += kTileRows) {
        add(near + column, least(kTileRows, visible - column), chunks_.values(chunk_of(tile.n0 + column)),
            column == 0 ? Store::kOverwrite : Store::kAdd);
      }
      add(tile.prefix, tile.sinks, sinks_.values, Store::kAdd);
      add(0, tile.prefix, prefix_.values, Store::kAdd);
    });
  }

  const AttentionArguments& a_;
  const AttentionShape& s_;
  const MutableRows& out_;
  float *row_max_, *inverse_sum_;
  std::int64_t first_head_, last_head_;
  Buffer<double> decay_memory_;
  KeyHead head_;
  bool exact_;
  KeyChunks<Math> chunks_;
  ChunkState<Math> state_;
  RowBlock block_;
  std::int64_t strip_row_, out_row_;
  Buffer<float> scores_, products_, numerator_, from_state_, relative_;
  QueryFeatures<Math> queries_;
  Buffer<Number> query_memory_, left_memory_;
  FarKeys<Math> prefix_, sinks_;
};

void causal_forward(const AttentionArguments& a, const MutableRows& out, float* row_max, float* inverse_sum, float* state_out,
                    std::int64_t absorb_end, std::int64_t b, std::int64_t g, std::int64_t first_head, std::int64_t last_head,
                    const RowBlock& block, float* kept, std::int64_t step) {
#if HEDGEHOG_HAS_HALF_MATH
  if (takes_half(a.k)) {
    const TileScope tiles;
    HeadForward<HalfMath>(a, out, row_max, inverse_sum, b, g, first_head, last_head, block)
        .run(state_out, absorb_end, kept, step);
    return;
  }
#endif
  HeadForward<FullMath>(a, out, row_max, inverse_sum, b, g, first_head, last_head, block)
      .run(state_out, absorb_end, kept, step);
}

template <class Math>
void absorb_rows_in(const AttentionArguments& a, std::int64_t b, std::int64_t g, std::int64_t begin, std::int64_t end,
                    float* to, float* carry) {
  Buffer<double> decay_memory(a.log_gate == nullptr ? 1 : a.shape.length);
  const KeyHead head(a, b, g, decay_memory.get());
  KeyChunks<Math> chunks(head, 1, {});
  ChunkState<Math> state(head, chunks, begin, nullptr);
  state.absorb(end);
  state.sum().write(to);
  *carry = state.sum().carry();
}

// What key rows [begin, end) alone leave in the state [F, D + 1], and how much of what was there before they leave.
void absorb_rows(const AttentionArguments& a, std::int64_t b, std::int64_t g, std::int64_t begin, std::int64_t end,
                 float* state, float* carry) {
#if HEDGEHOG_HAS_HALF_MATH
  if (takes_half(a.k)) {
    const TileScope tiles;
    return absorb_rows_in<HalfMath>(a, b, g, begin, end, state, carry);
  }
#endif
  absorb_rows_in<FullMath>(a, b, g, begin, end, state, carry);
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "hedgehog/kernels/cpu/attention_row.h"
#include "hedgehog/kernels/cpu/linear_state.h"
#include "hedgehog/kernels/cpu/out_of_memory.h"

#include <algorithm>
#include <new>
#include <vector>

namespace hedgehog::kernels {

HWY_EXPORT(causal_forward);
HWY_EXPORT(absorb_rows);

void throw_out_of_memory() {
  throw std::bad_alloc();
}

namespace {

constexpr std::int64_t kBlockChunks = 8;                     // at least, in a block
constexpr std::int64_t kStateBytes = std::int64_t{4} << 20;  // of all blocks' states together, about

}  // namespace

std::vector<RowBlock> row_blocks(const AttentionShape& s) {
  const std::int64_t first = s.query_begin / kChunkRows, chunks = (s.length - 1) / kChunkRows + 1 - first;
  const std::int64_t state_bytes = s.batch * s.kv_heads * s.features * (s.dim + 1) * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t most_blocks = std::max<std::int64_t>(4, kStateBytes / std::max<std::int64_t>(1, state_bytes));
  const std::int64_t step = std::max(kBlockChunks, (chunks + most_blocks - 1) / most_blocks);
  std::vector<RowBlock> blocks;
  for (std::int64_t chunk = 0; chunk < chunks; chunk += step) {
    const std::int64_t begin = std::max(s.query_begin, (first + chunk) * kChunkRows);
    blocks.push_back(
        {begin, std::min(s.length, (first + chunk + step) * kChunkRows), chunk == 0 ? 0 : first_near_row(s, begin), nullptr});
  }
  return blocks;
}

std::int64_t block_state_floats(const AttentionShape& s) {
  if (!s.causal || s.features == 0) return 0;
  const auto count = static_cast<std::int64_t>(row_blocks(s).size());
  return count > 1 ? s.batch * s.kv_heads * count * s.features * (s.dim + 1) : 0;
}

void block_states(const AttentionArguments& a, const float* before, const std::vector<RowBlock>& blocks, float* states,
                  const ParallelFor& parallel_for) {
  const AttentionShape& s = a.shape;
  const auto count = static_cast<std::int64_t>(blocks.size());
  const std::int64_t size = s.features * (s.dim + 1), heads = s.batch * s.kv_heads;
  std::vector<float> carries(static_cast<std::size_t>(heads * count));
  // What block n − 1 leaves stands at block n.
  parallel_for(heads * (count - 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t head = task / (count - 1), n = task % (count - 1) + 1;
      HEDGEHOG_DISPATCH(absorb_rows)
      (a, head / s.kv_heads, head % s.kv_heads, blocks[static_cast<std::size_t>(n - 1)].absorbed,
       blocks[static_cast<std::size_t>(n)].absorbed, states + (head * count + n) * size, carries.data() + head * count + n);
    }
  });
  parallel_for(heads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t head = begin; head < end; ++head) {
      float* state = states + head * count * size;
      if (before != nullptr) {
        std::copy_n(before + head * size, size, state);
      } else {
        std::fill_n(state, size, 0.0f);
      }
      for (std::int64_t n = 1; n < count; ++n, state += size) {
        const float carry = carries[static_cast<std::size_t>(head * count + n)];
        for (std::int64_t i = 0; i < size; ++i) state[size + i] += carry * state[i];
      }
    }
  });
}

namespace {

// The chunked form; `before` and `after` [batch · kv_heads, F, D + 1] are the states at its ends, null: none, not wanted.
void chunked_forward(const AttentionArguments& arguments, const MutableRows& out, float* row_max, float* inverse_sum,
                     const float* before, float* after, std::int64_t absorb_end, const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  const std::int64_t group = s.heads / s.kv_heads, size = s.features * (s.dim + 1), heads = s.batch * s.kv_heads;
  const auto state_of = [&](std::int64_t head) { return before == nullptr ? nullptr : before + head * size; };
  const bool few = heads < kEnoughHeads;
  const std::vector<RowBlock> blocks = s.causal && s.features > 0 ? row_blocks(s) : std::vector<RowBlock>{};
  const auto count = static_cast<std::int64_t>(blocks.size());
  if (few && count > 1) {
    std::vector<float> memory(static_cast<std::size_t>(arguments.block_states == nullptr ? heads * count * size : 0));
    float* states = arguments.block_states == nullptr ? memory.data() : arguments.block_states;
    block_states(arguments, before, blocks, states, parallel_for);
    parallel_for(heads * count, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t task = begin; task < end; ++task) {
        const std::int64_t head = task / count, n = task % count, g = head % s.kv_heads;
        RowBlock block = blocks[static_cast<std::size_t>(n)];
        block.state = n == 0 && before == nullptr ? nullptr : states + (head * count + n) * size;
        float* last = n == count - 1 && after != nullptr ? after + head * size : nullptr;
        HEDGEHOG_DISPATCH(causal_forward)
        (arguments, out, row_max, inverse_sum, last, absorb_end, head / s.kv_heads, g, g * group, (g + 1) * group, block,
         nullptr, 0);
      }
    });
    return;
  }
  // Short and few: query heads apart, each repeating its key head's work. States that a call hands on are written once per key
  // head, so then they stay together.
  const bool hands_on = after != nullptr || arguments.block_states != nullptr;
  const bool keeps = arguments.block_states != nullptr && count > 1;
  const std::int64_t rows = keeps ? blocks[1].begin : 0, kept_size = count * size;
  const std::int64_t step = few && !hands_on && s.query_rows() > 1 ? 1 : group;
  parallel_for(s.batch * s.heads / step, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t b = task * step / s.heads, h = task * step % s.heads, g = h / group, head = b * s.kv_heads + g;
      HEDGEHOG_DISPATCH(causal_forward)
      (arguments, out, row_max, inverse_sum, after == nullptr ? nullptr : after + head * size, absorb_end, b, g, h, h + step,
       {s.query_begin, s.length, 0, state_of(head)}, keeps ? arguments.block_states + head * kept_size : nullptr, rows);
    }
  });
}

}  // namespace

void attention_forward(const AttentionArguments& arguments, const MutableRows& out, float* row_max, float* inverse_sum,
                       const LinearState& state_out, std::int64_t absorb_end, const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  const bool exp_map = arguments.map.width > 0 && arguments.map.activation == Activation::kExp;
  if (s.causal && s.query_rows() == 1 && arguments.segment_start == nullptr && !exp_map) {
    return attention_row(arguments, out, row_max, inverse_sum, state_out, absorb_end, parallel_for);
  }
  const std::vector<float> before = unpacked_state(arguments.state_in, s, parallel_for);
  std::vector<float> after(state_out ? static_cast<std::size_t>(s.batch * s.kv_heads * s.features * (s.dim + 1)) : 0);
  chunked_forward(arguments, out, row_max, inverse_sum, arguments.state_in ? before.data() : nullptr,
                  state_out ? after.data() : nullptr, absorb_end, parallel_for);
  if (state_out) pack_state(after.data(), s, arguments.rounding_seed, state_out, parallel_for);
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE

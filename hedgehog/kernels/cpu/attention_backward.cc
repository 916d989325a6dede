// Backward of kernels/attention.h: the blocks of a call, what they hand to each other, and their tasks.
#include "hedgehog/kernels/cpu/instruction_set.h"
#include "hedgehog/kernels/cpu/row_block.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/attention_backward.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/block_backward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// y_i·dy_i of one query head.
void row_dots(const AttentionShape& s, const Rows& out, const Rows& out_gradient, std::int64_t b, std::int64_t h, float* dots) {
  for (std::int64_t i = 0; i < s.length; ++i) dots[i] = row_dot(out, out_gradient, b, h, i, s.dim);
}

// What the rows of a block alone leave in the state's gradient before its first near key, and how much of what later rows left
// there remains.
void absorb_row_gradients(const BackwardArguments& arguments, std::int64_t b, std::int64_t g, const RowBlock& block,
                          std::int64_t next_absorbed, float* to, float* carry) {
#if HEDGEHOG_HAS_HALF_MATH
  if (takes_half(arguments.forward.k)) {
    const TileScope tiles;
    return absorb_row_gradients_in<HalfMath>(arguments, b, g, block, next_absorbed, to, carry);
  }
#endif
  absorb_row_gradients_in<FullMath>(arguments, b, g, block, next_absorbed, to, carry);
}

void block_backward(const BackwardArguments& arguments, std::int64_t b, std::int64_t g, const BackwardBlock& task) {
#if HEDGEHOG_HAS_HALF_MATH
  if (takes_half(arguments.forward.k)) {
    const TileScope tiles;
    return BlockBackward<HalfMath>(arguments, b, g, task).run();
  }
#endif
  BlockBackward<FullMath>(arguments, b, g, task).run();
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <algorithm>
#include <utility>

namespace hedgehog::kernels {

HWY_EXPORT(row_dots);
HWY_EXPORT(absorb_row_gradients);
HWY_EXPORT(block_backward);

namespace {

// The tasks of one call, and their memory.
class BackwardPlan {
 public:
  BackwardPlan(const BackwardArguments& arguments, const ParallelFor& parallel_for)
      : arguments_(arguments), a_(arguments.forward), s_(a_.shape), parallel_for_(parallel_for) {
    blocks_ = s_.features > 0 && s_.causal ? row_blocks(s_) : std::vector<RowBlock>{{0, s_.length, 0, nullptr}};
    count_ = static_cast<std::int64_t>(blocks_.size());
    if (count_ > 1) {
      keep_states();
      if (few()) sum_state_gradients();
      if (!few()) state_gradients_.resize(static_cast<std::size_t>(heads() * state_size()));
    }
    plan_tasks();
  }

  void run() {
    // With many heads a head's blocks go one after the other, from the last on, and hand the state's gradient on.
    const std::int64_t together = few() ? 1 : count_;
    parallel_for_(heads() * count_ / together, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin * together; n < end * together; ++n) {
        const std::int64_t head = n / count_, block = count_ - 1 - n % count_;
        HEDGEHOG_DISPATCH(block_backward)(arguments_, head / s_.kv_heads, head % s_.kv_heads, task(head, block));
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

  bool few() const { return heads() < kEnoughHeads; }

  void keep_states() {
    states_ = a_.block_states;
    if (states_ != nullptr) return;
    own_states_.resize(static_cast<std::size_t>(heads() * count_ * state_size()));
    block_states(a_, nullptr, blocks_, own_states_.data(), parallel_for_);
    states_ = own_states_.data();
  }

  // What block n leaves in the gradient of the state that it begins with stands at block n − 1.
  void sum_state_gradients() {
    const std::int64_t size = state_size();
    state_gradients_.resize(static_cast<std::size_t>(heads() * count_ * size));
    std::vector<float> carries(static_cast<std::size_t>(heads() * count_));
    parallel_for_(heads() * (count_ - 1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t task = begin; task < end; ++task) {
        const std::int64_t head = task / (count_ - 1), n = task % (count_ - 1) + 1;
        HEDGEHOG_DISPATCH(absorb_row_gradients)
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
        if (n > 0) task.rows.state = states_ + (head * count_ + n) * state_size();
        if (count_ > 1) {
          float* gradient = state_gradients_.data() + (few() ? head * count_ + n : head) * state_size();
          if (n + 1 < count_) task.state_gradient = gradient;
          if (!few()) task.gradient_before = gradient;
        }
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
        add(from.v + at * s_.dim, s_.dim, to.v.at<float>(b, g, j));
        if (to.k) add(from.k + at * s_.dim, s_.dim, to.k.at<float>(b, g, j));
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
  const float* states_ = nullptr;
  std::vector<float> own_states_, state_gradients_, memory_;
  std::vector<BackwardBlock> tasks_;
};

}  // namespace

void attention_backward(const AttentionArguments& arguments, const Rows& out, const Rows& out_gradient, const float* row_max,
                        const float* inverse_sum, const AttentionGradients& gradients, const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  std::vector<float> dots(static_cast<std::size_t>(s.batch * s.heads * s.length));
  parallel_for(s.batch * s.heads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t head = begin; head < end; ++head) {
      HEDGEHOG_DISPATCH(row_dots)(s, out, out_gradient, head / s.heads, head % s.heads, dots.data() + head * s.length);
    }
  });
  const BackwardArguments call{arguments, out, out_gradient, row_max, inverse_sum, gradients, dots.data()};
  BackwardPlan(call, parallel_for).run();
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE

// One row's pass over a linear state S: sums += weights S, S := carry · S + Σ φ(k) vᵀ. Each number of S comes from memory once
// and goes back once. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_STATE_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_STATE_STEP_INL_H_
#undef HEDGEHOG_KERNELS_CPU_STATE_STEP_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_STATE_STEP_INL_H_
#endif

#include "hedgehog/kernels/cpu/buffer-inl.h"
#include "hedgehog/kernels/cpu/gemm_tile-inl.h"
#include "hedgehog/kernels/cpu/row_operations-inl.h"
#include "hedgehog/kernels/cpu/state_row-inl.h"

#include <hwy/cache_control.h>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// One key/value head's part in it.
struct HeadStep {
  std::int64_t features, dim, group, keys;
  const float* weights;  // [group, F]
  float* sums;           // [group, sums_row]
  std::int64_t sums_row;
  float carry;                       // what is left of S
  const float* key_features;         // [keys, F], the gate's decay in them
  const float* values;               // [keys, D]
  const std::uint32_t* column_bits;  // see RoundingBits
  const std::uint32_t* row_bits;
};

// Number: of S.
template <typename Number>
class StateStep {
 public:
  static constexpr bool kScaled = sizeof(Number) == 1;

  StateStep(std::int64_t features, std::int64_t dim, std::int64_t group)
      : dim_(dim),
        weights_(kScaled ? group * features : 1),
        rows_(kScaled ? kPanelRows * dim : 1),
        sizes_(kScaled ? kPanelRows * kMostLanes : 1),
        transposed_(kScaled ? kPanelRows * kMostLanes : 1),
        scales_(kPanelRows),
        factors_(kPanelRows) {
    fill_row(0, kScaled ? kPanelRows * kMostLanes : 1, sizes_.get());
  }

  // from [F, D], scale_from [F] (int8); to: the same, which may be the same memory, or null.
  void run(const HeadStep& step, const Number* from, const float* scale_from, Number* to, float* scale_to) {
    step_ = step;
    from_ = from;
    to_ = to;
    if (kScaled) {
      scale_ = scale_from;
      for (std::int64_t n = 0; n < step.group; ++n) {
        multiply_row(scale_from, step.weights + n * step.features, step.features, weights_.get() + n * step.features);
      }
    }
    for (std::int64_t f = 0; f < step.features; f += kPanelRows) {
      begin_ = f;
      end_ = least(f + kPanelRows, step.features);
      pass_panel();
      if constexpr (kScaled) {
        if (to != nullptr) round_panel(scale_to);
      }
    }
  }

 private:
  using Whole = hn::ScalableTag<float>;
  // Rows that are read, by one block of columns after the other, while they lie in the nearest cache.
  static constexpr std::int64_t kPanelRows = 16;
  // A state is asked for this far ahead, but for fp32, where the processor itself is ahead enough.
  static constexpr std::int64_t kLineNumbers = 64 / sizeof(Number), kPrefetchNumbers = 4096 / sizeof(Number);
  static constexpr std::int64_t kMostLanes = HWY_MAX_BYTES / sizeof(float);

  void pass_panel() {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(Whole()));
    std::int64_t column = 0;
    for (; column + 4 * lanes <= dim_; column += 4 * lanes) pass_columns<4>(Whole(), column);
    for (; column + lanes <= dim_; column += lanes) pass_columns<1>(Whole(), column);
    for (; column < dim_; ++column) pass_columns<1>(OneTag(), column);
  }

  // All query heads of the group, up to four at a time, whose sums stay in registers; S moves on with the last of them.
  template <int kVectors, class D>
  HWY_INLINE void pass_columns(D d, std::int64_t column) {
    const std::int64_t group = step_.group;
    std::int64_t n = 0;
    for (; group - n > 4; n += 4) pass_block<kVectors, 4, false>(d, column, n);
    const bool moves = to_ != nullptr;
    switch (group - n) {
      case 1:
        return moves ? pass_block<kVectors, 1, true>(d, column, n) : pass_block<kVectors, 1, false>(d, column, n);
      case 2:
        return moves ? pass_block<kVectors, 2, true>(d, column, n) : pass_block<kVectors, 2, false>(d, column, n);
      case 3:
        return moves ? pass_block<kVectors, 3, true>(d, column, n) : pass_block<kVectors, 3, false>(d, column, n);
      default:
        return moves ? pass_block<kVectors, 4, true>(d, column, n) : pass_block<kVectors, 4, false>(d, column, n);
    }
  }

  template <int kVectors, int kHeads, bool kMoves, class D>
  HWY_INLINE void pass_block(D d, std::int64_t column, std::int64_t first_head) {
    using V = hn::Vec<D>;
    // All of it in registers of its own: for what the compiler knows, a write to the state may change any member.
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t features = step_.features, keys = step_.keys, dim = dim_, rows = end_ - begin_;
    const float* HWY_RESTRICT weights = (kScaled ? weights_.get() : step_.weights) + first_head * features + begin_;
    const float* HWY_RESTRICT key = step_.key_features + begin_;
    const float* HWY_RESTRICT values = step_.values + column;
    const float* HWY_RESTRICT scale = kScaled ? scale_ + begin_ : nullptr;
    const std::uint32_t* HWY_RESTRICT row_bits = step_.row_bits + begin_;
    const float carry = step_.carry;
    const Number* from = from_ + begin_ * dim + column;
    Number* to = kMoves ? to_ + begin_ * dim + column : nullptr;
    float* HWY_RESTRICT moved_rows = rows_.get() + column;
    float* HWY_RESTRICT sizes = sizes_.get();
    float* sums = step_.sums + first_head * step_.sums_row + column;
    V sum[kHeads][kVectors], value[kVectors];
    Bits<D> bits[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      for (int n = 0; n < kHeads; ++n) sum[n][v] = hn::LoadU(d, sums + n * step_.sums_row + v * lanes);
      // One key is what nearly every step adds.
      value[v] = kMoves && keys > 0 ? hn::LoadU(d, values + v * lanes) : hn::Zero(d);
      bits[v] = hn::LoadU(hn::RebindToUnsigned<D>(), step_.column_bits + column + v * lanes);
    }
    for (std::int64_t f = 0; f < rows; ++f, from += dim, to += kMoves ? dim : 0) {
      V x[kVectors], weight[kHeads];
      for (int n = 0; n < kHeads; ++n) weight[n] = hn::Set(d, weights[n * features + f]);
      if (sizeof(Number) < sizeof(float)) {
        for (std::int64_t at = 0; at < kVectors * lanes; at += kLineNumbers) hwy::Prefetch(from + kPrefetchNumbers + at);
      }
      for (int v = 0; v < kVectors; ++v) {
        x[v] = load(d, from + v * lanes);
        for (int n = 0; n < kHeads; ++n) sum[n][v] = hn::MulAdd(weight[n], x[v], sum[n][v]);
      }
      if constexpr (kMoves) {
        const V left = hn::Set(d, kScaled ? carry * scale[f] : carry), first = hn::Set(d, keys > 0 ? key[f] : 0);
        for (int v = 0; v < kVectors; ++v) x[v] = hn::MulAdd(first, value[v], hn::Mul(left, x[v]));
        for (std::int64_t j = 1; j < keys; ++j) {
          for (int v = 0; v < kVectors; ++v) {
            x[v] = hn::MulAdd(hn::Set(d, key[j * features + f]), hn::LoadU(d, values + j * dim + v * lanes), x[v]);
          }
        }
        if constexpr (kScaled) {
          V size = column == 0 ? hn::Zero(d) : hn::LoadU(d, sizes + f * kMostLanes);
          for (int v = 0; v < kVectors; ++v) {
            size = hn::Max(size, hn::Abs(x[v]));
            hn::StoreU(x[v], d, moved_rows + f * dim + v * lanes);
          }
          hn::StoreU(size, d, sizes + f * kMostLanes);
        } else {
          const auto row = hn::Set(hn::RebindToUnsigned<D>(), row_bits[f]);
          for (int v = 0; v < kVectors; ++v) store_rounded(x[v], d, hn::Xor(bits[v], row), to + v * lanes);
        }
      }
    }
    for (int n = 0; n < kHeads; ++n) {
      for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[n][v], d, sums + n * step_.sums_row + v * lanes);
    }
  }

  // The panel's new rows to int8, each with the scale that its largest number asks for.
  void round_panel(float* scale_to) {
    const Whole d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    // Rows side by side, so that their largest sizes are found together.
    float* sizes = transposed_.get();
    const std::int64_t used = dim_ < lanes ? 1 : lanes;
    transpose(kPanelRows, used, sizes_.get(), kMostLanes, sizes, kPanelRows);
    over(kPanelRows, [&](auto tag, std::int64_t f) {
      auto most = hn::LoadU(tag, sizes + f);
      for (std::int64_t lane = 1; lane < used; ++lane) most = hn::Max(most, hn::LoadU(tag, sizes + lane * kPanelRows + f));
      const auto scale = int8_scales(tag, most);
      hn::StoreU(most, tag, sizes + f);
      hn::StoreU(scale, tag, scales_.get() + f);
      hn::StoreU(int8_factors(tag, scale), tag, factors_.get() + f);
    });
    for (std::int64_t f = 0; f < end_ - begin_; ++f) {
      if (!(sizes[f] < kInt8Limit)) limit_row(rows_.get() + f * dim_, dim_);
      scale_to[begin_ + f] = scales_.get()[f];
    }
    std::int64_t column = 0;
    for (; column + 4 * lanes <= dim_; column += 4 * lanes) round_block<4>(d, column);
    for (; column + lanes <= dim_; column += lanes) round_block<1>(d, column);
    for (; column < dim_; ++column) round_block<1>(OneTag(), column);
  }

  template <int kVectors, class D>
  HWY_INLINE void round_block(D d, std::int64_t column) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t dim = dim_, rows = end_ - begin_;
    const std::uint32_t* HWY_RESTRICT row_bits = step_.row_bits + begin_;
    const float* HWY_RESTRICT factors = factors_.get();
    const float* HWY_RESTRICT from = rows_.get() + column;
    Number* HWY_RESTRICT to = to_ + begin_ * dim + column;
    Bits<D> bits[kVectors];
    for (int v = 0; v < kVectors; ++v) bits[v] = hn::LoadU(hn::RebindToUnsigned<D>(), step_.column_bits + column + v * lanes);
    for (std::int64_t f = 0; f < rows; ++f, from += dim, to += dim) {
      const auto row = hn::Set(hn::RebindToUnsigned<D>(), row_bits[f]);
      const auto factor = hn::Set(d, factors[f]);
      for (int v = 0; v < kVectors; ++v) {
        store_scaled(hn::LoadU(d, from + v * lanes), factor, d, hn::Xor(bits[v], row), to + v * lanes);
      }
    }
  }

  std::int64_t dim_;
  HeadStep step_{};
  const Number* from_ = nullptr;
  const float* scale_ = nullptr;
  Number* to_ = nullptr;
  std::int64_t begin_ = 0, end_ = 0;
  // int8: weights times scales [group, F]; a panel's new rows [kPanelRows, D] before they are rounded, the largest sizes of
  // each row in each lane [kPanelRows, kMostLanes] and so transposed, scales and factors [kPanelRows].
  Buffer<float> weights_, rows_, sizes_, transposed_, scales_, factors_;
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

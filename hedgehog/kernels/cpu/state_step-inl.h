// One row's pass over a linear state S: sums += weights S, S := carry · S + Σ φ(k) vᵀ. Each number of S comes from memory once
// and goes back once. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_STATE_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_STATE_STEP_INL_H_
#undef HEDGEHOG_KERNELS_CPU_STATE_STEP_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_STATE_STEP_INL_H_
#endif

#include "hedgehog/kernels/cpu/buffer-inl.h"
#include "hedgehog/kernels/cpu/row_operations-inl.h"
#include "hedgehog/kernels/cpu/state_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// One key/value head's part in it.
struct HeadStep {
  std::int64_t features, dim, group, keys;
  const float* weights;  // [F, group]
  float* sums;           // [group, sums_row]
  std::int64_t sums_row;
  float carry;                       // what is left of S
  const float* key_features;         // [F, keys], the gate's decay in them
  const float* values;               // [keys, D]
  const std::uint32_t* column_bits;  // see RoundingBits
  const std::uint32_t* row_bits;
};

// Number: of S.
template <typename Number>
class StateStep {
 public:
  static constexpr bool kScaled = sizeof(Number) == 1;

  StateStep(std::int64_t dim, std::int64_t group)
      : dim_(dim),
        weights_(kScaled ? kPanelRows * group : 1),
        rows_(kScaled ? kPanelRows * dim : 1),
        sizes_(kScaled ? kPanelRows * kMostLanes : 1) {}

  // from [F, D], scale_from [F] (int8); to: the same, which may be the same memory, or null.
  void run(const HeadStep& step, const Number* from, const float* scale_from, Number* to, float* scale_to) {
    step_ = step;
    from_ = from;
    to_ = to;
    for (std::int64_t f = 0; f < step.features; f += kPanelRows) {
      begin_ = f;
      end_ = least(f + kPanelRows, step.features);
      scale_ = scale_from;
      pass_panel();
      if (kScaled && to != nullptr) round_panel(scale_to);
    }
  }

 private:
  using Whole = hn::ScalableTag<float>;
  // Rows that are read, by one block of columns after the other, while they lie in the nearest cache.
  static constexpr std::int64_t kPanelRows = 16;
  static constexpr std::int64_t kMostLanes = HWY_MAX_BYTES / sizeof(float);

  void pass_panel() {
    if (kScaled) {
      for (std::int64_t f = begin_; f < end_; ++f) {
        const std::int64_t at = f * step_.group;
        for (std::int64_t n = 0; n < step_.group; ++n) {
          weights_.get()[at - begin_ * step_.group + n] = scale_[f] * step_.weights[at + n];
        }
      }
      fill_row(0, kPanelRows * kMostLanes, sizes_.get());
    }
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
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t group = step_.group, keys = step_.keys, dim = dim_;
    const float* weights = kScaled ? weights_.get() : step_.weights + begin_ * group;
    float* sums = step_.sums + first_head * step_.sums_row + column;
    V sum[kHeads][kVectors], value[kVectors];
    for (int n = 0; n < kHeads; ++n) {
      for (int v = 0; v < kVectors; ++v) sum[n][v] = hn::LoadU(d, sums + n * step_.sums_row + v * lanes);
    }
    // One key is what nearly every step adds.
    for (int v = 0; v < kVectors; ++v) {
      value[v] = kMoves && keys > 0 ? hn::LoadU(d, step_.values + column + v * lanes) : hn::Zero(d);
    }
    for (std::int64_t f = begin_; f < end_; ++f) {
      const Number* from = from_ + f * dim + column;
      const float* weight = weights + (f - begin_) * group + first_head;
      const float* key = step_.key_features + f * keys;
      const V carry = hn::Set(d, kScaled ? step_.carry * scale_[f] : step_.carry), first = hn::Set(d, keys > 0 ? key[0] : 0);
      V size = hn::Zero(d);
      for (int v = 0; v < kVectors; ++v) {
        const V x = load(d, from + v * lanes);
        for (int n = 0; n < kHeads; ++n) sum[n][v] = hn::MulAdd(hn::Set(d, weight[n]), x, sum[n][v]);
        if (!kMoves) continue;
        V moved = hn::MulAdd(first, value[v], hn::Mul(carry, x));
        for (std::int64_t j = 1; j < keys; ++j) {
          moved = hn::MulAdd(hn::Set(d, key[j]), hn::LoadU(d, step_.values + j * dim + column + v * lanes), moved);
        }
        if constexpr (kScaled) {
          size = hn::Max(size, hn::Abs(moved));
          hn::StoreU(moved, d, rows_.get() + (f - begin_) * dim + column + v * lanes);
        } else {
          const auto random = random_bits(d, step_.column_bits + column + v * lanes, step_.row_bits[f]);
          store_rounded(moved, d, random, to_ + f * dim + column + v * lanes);
        }
      }
      if constexpr (kScaled && kMoves) {
        float* at = sizes_.get() + (f - begin_) * kMostLanes;
        hn::StoreU(hn::Max(hn::LoadU(d, at), size), d, at);
      }
    }
    for (int n = 0; n < kHeads; ++n) {
      for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[n][v], d, sums + n * step_.sums_row + v * lanes);
    }
  }

  // The panel's new rows to int8, each with the scale that its largest number asks for.
  void round_panel(float* scale_to) {
    for (std::int64_t f = begin_; f < end_; ++f) {
      const Whole d;
      const float most = hn::GetLane(hn::MaxOfLanes(d, hn::Load(d, sizes_.get() + (f - begin_) * kMostLanes)));
      scale_to[f] = int8_scale(most);
      round_row(rows_.get() + (f - begin_) * dim_, dim_, inverse_scale(scale_to[f]), step_.column_bits, step_.row_bits[f],
                to_ + f * dim_);
    }
  }

  std::int64_t dim_;
  HeadStep step_{};
  const Number* from_ = nullptr;
  const float* scale_ = nullptr;
  Number* to_ = nullptr;
  std::int64_t begin_ = 0, end_ = 0;
  Buffer<float> weights_, rows_, sizes_;
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

// What the rows of a tile's output give back, and their way into the state's gradient. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_OUTPUT_GRADIENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_OUTPUT_GRADIENT_INL_H_
#undef HEDGEHOG_KERNELS_CPU_OUTPUT_GRADIENT_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_OUTPUT_GRADIENT_INL_H_
#endif

#include "hedgehog/kernels/cpu/chunk_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// z += φᵀ last: φ [count, F], one number `last` a row.
template <typename Number>
void add_weighted_rows(std::int64_t count, std::int64_t width, View<Number> phi, const float* last, float* z) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t f = 0;
  for (; f + 4 * lanes <= width; f += 4 * lanes) {
    FloatVector sum[4];
    for (std::int64_t n = 0; n < 4; ++n) sum[n] = hn::LoadU(d, z + f + n * lanes);
    for (std::int64_t r = 0; r < count; ++r) {
      const auto weight = hn::Set(d, last[r]);
      const Number* row = phi.data + r * phi.row + f;
      for (std::int64_t n = 0; n < 4; ++n) sum[n] = hn::MulAdd(weight, load(d, row + n * lanes), sum[n]);
    }
    for (std::int64_t n = 0; n < 4; ++n) hn::StoreU(sum[n], d, z + f + n * lanes);
  }
  for (std::int64_t r = 0; f < width && r < count; ++r) add_row(phi.data + r * phi.row + f, width - f, last[r], z + f);
}

// A tile's rows into the state's gradient: dS += φ(q)ᵀ rows, dz += φ(q)ᵀ last. phi [count, F] and, as a left side,
// phi_transposed [F, count]; rows a right side [count, D]; one number `last` a row.
template <class Math>
void add_rows(const KeyHead& head, std::int64_t count, View<typename Math::Number> phi,
              View<typename Math::Number> phi_transposed, View<typename Math::Number> rows, const float* last,
              StateSum& gradient) {
  Math::product(head.features, head.dim, count, phi_transposed, rows, gradient.s_memory(), gradient.s().row, Store::kAdd);
  add_weighted_rows(count, head.features, phi, last, gradient.z_memory());
}

// What rows of a tile's output give back: dy, the weights' sums and maxima, and with them the state's part.
template <class Math>
class OutputGradient {
  using Number = typename Math::Number;

 public:
  OutputGradient(const BackwardArguments& arguments, const KeyHead& head)
      : arguments_(arguments),
        a_(arguments.forward),
        head_(head),
        stride_(padded(head.dim)),
        given_memory_(kTileRows * even(head.dim)),
        rows_(kTileRows * stride_) {}

  std::int64_t row_offset(std::int64_t h, std::int64_t i) const { return (head_.b * a_.shape.heads + h) * head_.length + i; }
  float row_max(std::int64_t h, std::int64_t i) const { return arguments_.row_max[row_offset(h, i)]; }
  float inverse_sum(std::int64_t h, std::int64_t i) const { return arguments_.inverse_sum[row_offset(h, i)]; }
  float log_scale(const Tile& tile, std::int64_t h, std::int64_t i) const {
    return (a_.row_log_scale == nullptr ? 0 : a_.row_log_scale[row_offset(h, i)]) + query_log_scales_[i - tile.t0];
  }

  // Takes up a tile of one head: dy, a left side, and y·dy of its rows. query_log_scales: of QueryFeatures.
  void set(const Tile& tile, std::int64_t h, const float* query_log_scales) {
    query_log_scales_ = query_log_scales;
    dots_ = arguments_.row_dots + row_offset(h, tile.t0);
    given_ = Math::input(arguments_.out_gradient, head_.b, h, tile.t0, tile.t1 - tile.t0, head_.dim, given_memory_.get());
  }
  View<Number> dy() const { return given_; }
  float row_dot(const Tile& tile, std::int64_t i) const { return dots_[i - tile.t0]; }

  // rows() = factor · dy and last() = −factor · y·dy of the tile's rows, the factor of φ(q_i) S in y_i:
  // exp(ℓ_i − M_i + A_i − A_{n0−1}) / Σ, 0 where the row does not see the state.
  void set_state_rows(const Tile& tile, std::int64_t h) {
    for (std::int64_t i = tile.t0; i < tile.t1; ++i) {
      float factor = 0;
      if (row_ranges(head_, tile, i).state) {
        factor = std::exp(log_scale(tile, h, i) - row_max(h, i) + head_.decay_between(tile.n0 - 1, i)) * inverse_sum(h, i);
      }
      set_row(i - tile.t0, factor);
    }
  }
  // The same where the factor is 1/Σ in every row.
  void set_plain_rows(const Tile& tile, std::int64_t h) {
    for (std::int64_t i = tile.t0; i < tile.t1; ++i) set_row(i - tile.t0, inverse_sum(h, i));
  }
  // A left side.
  View<Number> rows() const { return {rows_.get(), stride_}; }
  const float* last() const { return last_; }

 private:
  void set_row(std::int64_t r, float factor) {
    const Number* from = given_.data + r * given_.row;
    Number* to = rows_.get() + r * stride_;
    over_row(head_.dim, [&](std::int64_t j, auto valid, bool whole) {
      Math::store(hn::Mul(hn::Set(FloatTag(), factor), load_row(from + j, valid, whole)), to + j, head_.dim - j);
    });
    if (Math::kPair > 1 && head_.dim % 2 != 0) to[head_.dim] = 0;
    last_[r] = -factor * dots_[r];
  }

  const BackwardArguments& arguments_;
  const AttentionArguments& a_;
  const KeyHead& head_;
  std::int64_t stride_;
  Buffer<Number> given_memory_, rows_;
  View<Number> given_{};
  const float* query_log_scales_ = nullptr;
  const float* dots_ = nullptr;
  float last_[kTileRows];
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

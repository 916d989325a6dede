// The gradient of features back through their map: du for a tile of queries or a chunk of keys, and what W and b get from it.
// Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_MAP_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_MAP_BACKWARD_INL_H_
#undef HEDGEHOG_KERNELS_CPU_MAP_BACKWARD_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_MAP_BACKWARD_INL_H_
#endif

#include "hedgehog/kernels/cpu/chunk_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// dots[j] = φ(k_j)·dφ(k_j) of a chunk's keys; φ and dφ [F, kTileRows].
template <typename Number>
void chunk_dots(std::int64_t features, const Number* phi, const float* dphi, float* dots) {
  fill_row(0, kTileRows, dots);
  for (std::int64_t f = 0; f < features; ++f) multiply_add_row(phi + f * kTileRows, dphi + f * kTileRows, kTileRows, dots);
}

template <class Math>
class MapBackward {
  using Number = typename Math::Number;

 public:
  explicit MapBackward(const KeyHead& head)
      : map_(head.arguments.map),
        dim_(head.dim),
        query_gradients_(kTileRows * even(map_.width)),
        transposed_(kTileRows * even(map_.width)),
        right_(kTileRows * even(map_.width)),
        rows_(kTileRows * even(dim_)),
        key_gradients_(kTileRows * most(map_.width, 1)) {}

  // phi, a left side [rows, F], and its gradient dphi + lastᵀ z (z [F] and last [rows] may be null); q, a left side [rows, D].
  // Adds to weight [M, D] and bias [M]; dots [rows] (may be null) = φ·dφ. Returns du, a left side [rows, M], good until the
  // next call.
  View<Number> queries(std::int64_t rows, View<Number> phi, const float* dphi, std::int64_t dphi_row, const float* z,
                       const float* last, View<Number> q, float* weight, float* bias, float* dots) {
    const std::int64_t width = map_.width, row = even(width);
    for (std::int64_t r = 0; r < rows; ++r) {
      Number* to = query_gradients_.get() + r * row;
      const float product = activate_row_backward<Math>(map_.activation, width, phi.data + r * phi.row, dphi + r * dphi_row, z,
                                                        z == nullptr ? 0 : last[r], to, bias);
      if (Math::kPair > 1 && width % 2 != 0) to[width] = 0;
      if (dots != nullptr) dots[r] = product;
    }
    const View<Number> du{query_gradients_.get(), row};
    Math::product(width, dim_, rows, Math::sides(du, rows, width, transposed_.get(), right_.get()).left_transposed,
                  Math::right(q, rows, dim_, rows_.get()), weight, dim_, Store::kAdd);
    return du;
  }

  // phi, a left side [F, kTileRows], its gradient dphi [F, kTileRows], key_rows a right side [rows, D]. Adds to weight and
  // bias. Returns duᵀ [M, kTileRows], zeros behind the last row, good until the next call.
  const float* keys(std::int64_t rows, View<Number> phi, const float* dphi, View<Number> key_rows, float* weight, float* bias) {
    const std::int64_t width = map_.width;
    float* du = key_gradients_.get();
    activate_columns_backward(map_.activation, width, kTileRows, phi.data, dphi, du);
    for (std::int64_t m = 0; m < width; ++m) bias[m] += row_sum(du + m * kTileRows, rows);
    Math::product(width, dim_, rows, Math::left(du, kTileRows, width, kTileRows, transposed_.get()), key_rows, weight, dim_,
                  Store::kAdd);
    return du;
  }

 private:
  const FeatureMap& map_;
  std::int64_t dim_;
  Buffer<Number> query_gradients_, transposed_, right_, rows_;
  Buffer<float> key_gradients_;
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

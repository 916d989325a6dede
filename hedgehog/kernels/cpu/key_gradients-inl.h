// Gradients of keys, values and their features that a block sums up: of each chunk until all of its queries have been seen,
// then written out. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_KEY_GRADIENTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_KEY_GRADIENTS_INL_H_
#undef HEDGEHOG_KERNELS_CPU_KEY_GRADIENTS_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_KEY_GRADIENTS_INL_H_
#endif

#include "hedgehog/kernels/cpu/chunk_tile-inl.h"
#include "hedgehog/kernels/cpu/map_backward-inl.h"

#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// A chunk's sums are transposed: dφ(k)ᵀ [F, 64], dkᵀ and dvᵀ [D, 64]. So many chunks are held at a time as a tile may see.
class KeyGradients {
 public:
  KeyGradients(const KeyHead& head, const AttentionGradients& gradients, const BackwardBlock& task, std::int64_t chunks_held)
      : head_(head),
        gradients_(gradients),
        task_(task),
        features_(head.features),
        dim_(head.dim),
        size_((features_ + 2 * dim_) * kTileRows),
        slots_(chunks_held),
        sums_(slots_ * size_),
        held_(slots_),
        rows_(kTileRows * most(dim_, features_)) {
    for (std::int64_t slot = 0; slot < slots_; ++slot) held_.get()[slot] = -1;
  }

  bool holds(std::int64_t chunk) const { return held_.get()[chunk % slots_] == chunk; }
  // A chunk's sums, zeros when they are first asked for.
  float* features(std::int64_t chunk) { return sums(chunk); }
  float* keys(std::int64_t chunk) { return sums(chunk) + features_ * kTileRows; }
  float* values(std::int64_t chunk) { return sums(chunk) + (features_ + dim_) * kTileRows; }

  // Where the gradients of key row j go: the block's rows are its own, earlier ones go into the task's memory.
  float* key_row(std::int64_t j) const { return row_of(gradients_.k, task_.k, dim_, j); }
  float* value_row(std::int64_t j) const { return row_of(gradients_.v, task_.v, dim_, j); }

  // A chunk's sums to its rows, or, with `add`, to what is there.
  void write_keys(std::int64_t chunk, bool add) { write(keys(chunk), chunk, gradients_.k, task_.k, add); }
  void write_values(std::int64_t chunk, bool add) { write(values(chunk), chunk, gradients_.v, task_.v, add); }
  // dφ(k)
  void write_features(std::int64_t chunk) {
    const std::int64_t begin = chunk * kTileRows, rows = rows_of(chunk);
    transpose(features_, rows, features(chunk), kTileRows, rows_.get(), features_);
    for (std::int64_t r = 0; r < rows; ++r) {
      scale_row(rows_.get() + r * features_, features_, 1, false, row_of(gradients_.phi_k, task_.phi_k, features_, begin + r));
    }
  }
  // dφ(k)·φ(k), phi [64, F]
  template <typename Number>
  void write_dots(std::int64_t chunk, const Number* phi) {
    float dots[kTileRows];
    chunk_dots(features_, phi, features(chunk), dots);
    for (std::int64_t r = 0; r < rows_of(chunk); ++r) {
      const std::int64_t j = chunk * kTileRows + r;
      float* to = j >= task_.rows.begin ? gradients_.k_dot + (head_.b * shape().kv_heads + head_.g) * shape().length + j
                                        : task_.k_dot + task_.index(j);
      *to = dots[r];
    }
  }

 private:
  const AttentionShape& shape() const { return head_.arguments.shape; }
  std::int64_t rows_of(std::int64_t chunk) const { return least(kTileRows, head_.length - chunk * kTileRows); }

  float* sums(std::int64_t chunk) {
    float* memory = sums_.get() + chunk % slots_ * size_;
    if (!holds(chunk)) {
      held_.get()[chunk % slots_] = chunk;
      std::memset(memory, 0, sizeof(float) * static_cast<std::size_t>(size_));
    }
    return memory;
  }

  template <typename Own>
  float* row_of(const Own& own, float* elsewhere, std::int64_t width, std::int64_t j) const {
    if (j < task_.rows.begin) return elsewhere + task_.index(j) * width;
    if constexpr (std::is_same_v<Own, MutableRows>) {
      return own.template at<float>(head_.b, head_.g, j);
    } else {
      return own.at(head_.b, head_.g, j);
    }
  }

  void write(const float* sums, std::int64_t chunk, const MutableRows& own, float* elsewhere, bool add) {
    const std::int64_t begin = chunk * kTileRows, rows = rows_of(chunk);
    transpose(dim_, rows, sums, kTileRows, rows_.get(), dim_);
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* row = rows_.get() + r * dim_;
      if (add) {
        scale_row(row, dim_, 1, true, row_of(own, elsewhere, dim_, begin + r));
      } else {
        write_row(row, dim_, 1, own, head_.b, head_.g, begin + r);
      }
    }
  }

  const KeyHead& head_;
  const AttentionGradients& gradients_;
  const BackwardBlock& task_;
  std::int64_t features_, dim_, size_, slots_;
  Buffer<float> sums_;
  Buffer<std::int64_t> held_;
  Buffer<float> rows_;
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

// Keys in the forms that products read, a chunk at a time, and the linear state that they go into. Included once per
// instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_KEY_CHUNKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_KEY_CHUNKS_INL_H_
#undef HEDGEHOG_KERNELS_CPU_KEY_CHUNKS_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_KEY_CHUNKS_INL_H_
#endif

#include "hedgehog/kernels/cpu/activation-inl.h"
#include "hedgehog/kernels/cpu/attention_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// A chunk is the key rows [chunk · kTileRows, (chunk + 1) · kTileRows) of one key/value head.
inline std::int64_t chunk_of(std::int64_t row) {
  return row / kTileRows;
}

// The last few chunks, transposed; each is made when it is first asked for.
class KeyChunks {
 public:
  // `kept` chunks stay at hand. Keys are made where `exact` wants them or the map needs them; `backward` wants the values and
  // the features' rows too.
  KeyChunks(const KeyHead& head, std::int64_t kept, bool exact, bool backward)
      : head_(head),
        kept_(kept),
        keys_(exact || head.arguments.map.width > 0),
        backward_(backward),
        values_at_(head.features + (keys_ ? head.dim : 0)),
        rows_at_(values_at_ + (backward ? head.dim : 0)),
        size_(rows_at_ + (backward ? head.features : 0)),
        memory_(kept * size_ * kTileRows),
        held_(kept) {
    for (std::int64_t slot = 0; slot < kept; ++slot) held_.get()[slot] = -1;
  }

  // [D, kTileRows]
  const float* keys(std::int64_t chunk) { return chunk_memory(chunk) + head_.features * kTileRows; }
  // φ [F, kTileRows]
  const float* features(std::int64_t chunk) { return chunk_memory(chunk); }
  // v [D, kTileRows]
  const float* values(std::int64_t chunk) { return chunk_memory(chunk) + values_at_ * kTileRows; }
  // φ [kTileRows, F]
  const float* feature_rows(std::int64_t chunk) { return chunk_memory(chunk) + rows_at_ * kTileRows; }

 private:
  float* chunk_memory(std::int64_t chunk) {
    const std::int64_t slot = chunk % kept_;
    float* memory = memory_.get() + slot * size_ * kTileRows;
    if (held_.get()[slot] == chunk) return memory;
    held_.get()[slot] = chunk;
    const std::int64_t begin = chunk * kTileRows, rows = least(kTileRows, head_.length - begin);
    const AttentionArguments& a = head_.arguments;
    float* transposed = memory + head_.features * kTileRows;
    if (keys_) transpose_padded(rows, head_.dim, a.k.at(head_.b, head_.g, begin), a.k.row, transposed);
    if (backward_)
      transpose_padded(rows, head_.dim, head_.v + begin * head_.v_row, head_.v_row, memory + values_at_ * kTileRows);
    if (head_.features == 0) return memory;
    const std::int64_t width = a.map.width;
    if (width == 0) {
      transpose_padded(rows, head_.features, head_.phi_k + begin * head_.phi_k_row, head_.phi_k_row, memory);
    } else {
      gemm(width, kTileRows, head_.dim, a.map.k_weight + head_.g * width * head_.dim, head_.dim, 1, transposed, kTileRows,
           memory + width * kTileRows, kTileRows, Store::kOverwrite);
      activate_columns(a.map.activation, width, kTileRows, a.map.k_bias == nullptr ? nullptr : a.map.k_bias + head_.g * width,
                       memory);
    }
    if (backward_) transpose(head_.features, kTileRows, memory, kTileRows, memory + rows_at_ * kTileRows, head_.features);
    return memory;
  }

  // Columns beyond the sequence are zeros, so that whole vectors of them stay finite.
  static void transpose_padded(std::int64_t rows, std::int64_t width, const float* from, std::int64_t from_row, float* to) {
    if (rows < kTileRows) std::memset(to, 0, sizeof(float) * static_cast<std::size_t>(width * kTileRows));
    transpose(rows, width, from, from_row, to, kTileRows);
  }

  const KeyHead& head_;
  std::int64_t kept_;
  bool keys_, backward_;
  std::int64_t values_at_, rows_at_, size_;  // in rows of kTileRows floats: where parts of a chunk begin, and all that it takes
  Buffer<float> memory_;
  Buffer<std::int64_t> held_;
};

// S = Σ φ(k) vᵀ [F, stride] and z = Σ φ(k) [F] of the key rows before `absorbed` (those of the current document, sinks left
// out), decayed to row absorbed − 1.
class ChunkState {
 public:
  // Begins at key row `absorbed` with the state `from` [F, D + 1] (AttentionArguments::state_in's form), or with nothing.
  ChunkState(const KeyHead& head, KeyChunks& chunks, std::int64_t absorbed, const float* from)
      : head_(head),
        chunks_(chunks),
        stride_(padded(head.dim)),
        s_(head.features * stride_),
        z_(head.features),
        rows_(head.decay == nullptr ? 1 : kTileRows * stride_),
        absorbed_(absorbed) {
    clear();
    carry_ = 1;
    if (from == nullptr) return;
    empty_ = false;
    for (std::int64_t f = 0; f < head.features; ++f, from += head.dim + 1) {
      std::memcpy(s_.get() + f * stride_, from, sizeof(float) * static_cast<std::size_t>(head.dim));
      z_.get()[f] = from[head.dim];
    }
  }

  const float* s() const { return s_.get(); }
  const float* z() const { return z_.get(); }
  std::int64_t stride() const { return stride_; }
  bool empty() const { return empty_; }
  // What is left of the state that it began with: the decay since then, 0 when a document has ended.
  float carry() const { return carry_; }

  // Moves on to key row `end`: decays, drops all where a document ends, adds φ(k) [v, 1]ᵀ.
  void absorb(std::int64_t end) {
    while (absorbed_ < end) {
      const std::int64_t a0 = absorbed_, a1 = least((chunk_of(a0) + 1) * kTileRows, end);
      const std::int64_t start = head_.segment_of(least(a1, head_.length - 1));
      if (start > a0) {
        clear();
      } else if (head_.decay != nullptr) {
        const float factor = std::exp(head_.decay_between(a0 - 1, a1 - 1));
        carry_ *= factor;
        scale_row(s_.get(), head_.features * stride_, factor, false, s_.get());
        scale_row(z_.get(), head_.features, factor, false, z_.get());
      }
      const std::int64_t first = clamp(start + head_.arguments.shape.sinks, a0, a1);
      if (first < a1) add(first, a1);
      absorbed_ = a1;
    }
  }

  // To [F, D + 1].
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
    empty_ = true;
    carry_ = 0;
  }

  void add(std::int64_t first, std::int64_t end) {
    const std::int64_t chunk = chunk_of(first), count = end - first;
    const float* phi = chunks_.features(chunk) + (first - chunk * kTileRows);
    const float* values = head_.v + first * head_.v_row;
    std::int64_t values_row = head_.v_row;
    float weights[kTileRows];
    for (std::int64_t j = 0; j < count; ++j) {
      weights[j] = head_.decay == nullptr ? 1.0f : std::exp(head_.decay_between(first + j, end - 1));
    }
    if (head_.decay != nullptr) {
      for (std::int64_t j = 0; j < count; ++j) {
        scale_row(values + j * values_row, head_.dim, weights[j], false, rows_.get() + j * stride_);
      }
      values = rows_.get();
      values_row = stride_;
    }
    gemm(head_.features, head_.dim, count, phi, kTileRows, 1, values, values_row, s_.get(), stride_, Store::kAdd);
    for (std::int64_t f = 0; f < head_.features; ++f) z_.get()[f] += dot(phi + f * kTileRows, weights, count);
    empty_ = false;
  }

  const KeyHead& head_;
  KeyChunks& chunks_;
  std::int64_t stride_;
  Buffer<float> s_, z_, rows_;
  std::int64_t absorbed_;
  bool empty_ = true;
  float carry_ = 1;
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

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
#include "hedgehog/kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// A chunk is the key rows [chunk · kTileRows, (chunk + 1) · kTileRows) of one key/value head.
inline std::int64_t chunk_of(std::int64_t row) {
  return row / kTileRows;
}

// What of a chunk is wanted; φ always is, where there are features, and keys where the map needs them.
struct KeyParts {
  bool keys = false, values = true, values_transposed = false, key_rows = false, feature_rows = false;
};

// The last few chunks as products want them; each is made when it is first asked for.
template <class Math>
class KeyChunks {
 public:
  using Number = typename Math::Number;

  // `kept` chunks stay at hand.
  KeyChunks(const KeyHead& head, std::int64_t kept, const KeyParts& parts)
      : head_(head),
        kept_(kept),
        parts_(parts),
        keys_(parts.keys || head.arguments.map.width > 0),
        keys_at_(Math::kPair * head.features),
        values_at_(keys_at_ + (keys_ ? even(head.dim) : 0)),
        transposed_at_(values_at_ + (parts.values ? even(head.dim) : 0)),
        key_rows_at_(transposed_at_ + (parts.values_transposed ? even(head.dim) : 0)),
        feature_rows_at_(key_rows_at_ + (parts.key_rows ? even(head.dim) : 0)),
        size_(feature_rows_at_ + (parts.feature_rows ? head.features : 0)),
        memory_(kept * size_ * kTileRows),
        held_(kept),
        values_(kept),
        key_rows_(kept),
        input_(kTileRows * even(head.dim)),
        weight_(head.arguments.map.width * even(head.dim)),
        features_(Math::kPair > 1 ? head.features * kTileRows : 1) {
    for (std::int64_t slot = 0; slot < kept; ++slot) held_.get()[slot] = -1;
    const FeatureMap& map = head.arguments.map;
    if (map.width > 0) {
      map_ = Math::left(map.k_weight + head.g * map.width * head.dim, head.dim, map.width, head.dim, weight_.get());
    }
  }

  // k, a right side [D, kTileRows]
  View<Number> keys(std::int64_t chunk) { return {chunk_memory(chunk) + keys_at_ * kTileRows, kTileRows}; }
  // φ, a right side [F, kTileRows]
  View<Number> features(std::int64_t chunk) {
    return {chunk_memory(chunk) + (Math::kPair > 1 ? head_.features * kTileRows : 0), kTileRows};
  }
  // φ, a left side [F, kTileRows]
  View<Number> features_left(std::int64_t chunk) { return {chunk_memory(chunk), kTileRows}; }
  // v, a right side [rows of the chunk, D]
  View<Number> values(std::int64_t chunk) {
    chunk_memory(chunk);
    return values_.get()[chunk % kept_];
  }
  // v, a right side [D, kTileRows]
  View<Number> values_transposed(std::int64_t chunk) { return {chunk_memory(chunk) + transposed_at_ * kTileRows, kTileRows}; }
  // k, a right side [rows of the chunk, D]
  View<Number> key_rows(std::int64_t chunk) {
    chunk_memory(chunk);
    return key_rows_.get()[chunk % kept_];
  }
  // φ, a right side [kTileRows, F]
  View<Number> feature_rows(std::int64_t chunk) { return {chunk_memory(chunk) + feature_rows_at_ * kTileRows, head_.features}; }

 private:
  Number* chunk_memory(std::int64_t chunk) {
    const std::int64_t slot = chunk % kept_;
    Number* memory = memory_.get() + slot * size_ * kTileRows;
    if (held_.get()[slot] == chunk) return memory;
    held_.get()[slot] = chunk;
    const std::int64_t begin = chunk * kTileRows, rows = least(kTileRows, head_.length - begin);
    const AttentionArguments& a = head_.arguments;
    View<Number> keys{};
    if (keys_) {
      // fp32 rows that had to be converted stay where they are.
      Number* key_rows = memory + key_rows_at_ * kTileRows;
      const View<Number> input = Math::input(a.k, head_.b, head_.g, begin, rows, head_.dim,
                                             parts_.key_rows && Math::kPair == 1 ? key_rows : input_.get());
      keys = Math::right_transposed(input, rows, head_.dim, kTileRows, memory + keys_at_ * kTileRows);
      if (parts_.key_rows) key_rows_.get()[slot] = Math::right(input, rows, head_.dim, key_rows);
    }
    if (head_.features > 0) make_features(begin, rows, keys, memory);
    if (parts_.values) {
      Number* values = memory + values_at_ * kTileRows;
      const View<Number> value_rows =
          Math::input(a.v, head_.b, head_.g, begin, rows, head_.dim, Math::kPair > 1 ? input_.get() : values);
      values_.get()[slot] = Math::right(value_rows, rows, head_.dim, values);
      if (parts_.values_transposed) {
        Math::right_transposed(value_rows, rows, head_.dim, kTileRows, memory + transposed_at_ * kTileRows);
      }
    }
    if (parts_.feature_rows) {
      Math::right_transposed({memory, kTileRows}, head_.features, kTileRows, head_.features,
                             memory + feature_rows_at_ * kTileRows);
    }
    return memory;
  }

  void make_features(std::int64_t begin, std::int64_t rows, View<Number> keys, Number* memory) {
    const AttentionArguments& a = head_.arguments;
    const std::int64_t width = a.map.width;
    float* phi = features_.get();
    if constexpr (Math::kPair == 1) phi = memory;
    if (width == 0) {
      FullMath::right_transposed({head_.phi_k + begin * head_.phi_k_row, head_.phi_k_row}, rows, head_.features, kTileRows,
                                 phi);
    } else {
      Math::product(width, kTileRows, head_.dim, map_, keys, phi + width * kTileRows, kTileRows, Store::kOverwrite);
      float reference[kTileRows] = {};
      if (a.map.k_reference != nullptr) {
        const float* from = a.map.k_reference + (head_.b * a.shape.kv_heads + head_.g) * head_.length + begin;
        std::memcpy(reference, from, sizeof(float) * static_cast<std::size_t>(rows));
      }
      activate_columns(a.map.activation, width, kTileRows, a.map.k_bias == nullptr ? nullptr : a.map.k_bias + head_.g * width,
                       reference, phi);
    }
    if constexpr (Math::kPair > 1) {
      Math::left(phi, kTileRows, head_.features, kTileRows, memory);
      Math::right_of_fp32(phi, kTileRows, head_.features, kTileRows, memory + head_.features * kTileRows);
    }
  }

  const KeyHead& head_;
  std::int64_t kept_;
  KeyParts parts_;
  bool keys_;
  // In rows of kTileRows numbers: where parts of a chunk begin, and all that it takes.
  std::int64_t keys_at_, values_at_, transposed_at_, key_rows_at_, feature_rows_at_, size_;
  Buffer<Number> memory_;
  Buffer<std::int64_t> held_;
  Buffer<View<Number>> values_, key_rows_;
  Buffer<Number> input_, weight_;
  Buffer<float> features_;
  View<Number> map_{};
};

// A linear state S [F, D] and z [F], or the gradient of one, that stands just before a key row.
class StateSum {
 public:
  // Starts with `from` [F, D + 1], z as the last column, or with nothing.
  StateSum(const KeyHead& head, const float* from)
      : head_(head), stride_(padded(head.dim)), s_(head.features * stride_), z_(head.features) {
    clear();
    carry_ = 1;
    if (from == nullptr) return;
    empty_ = false;
    for (std::int64_t f = 0; f < head.features; ++f, from += head.dim + 1) {
      std::memcpy(s_.get() + f * stride_, from, sizeof(float) * static_cast<std::size_t>(head.dim));
      z_.get()[f] = from[head.dim];
    }
  }

  View<float> s() const { return {s_.get(), stride_}; }
  const float* z() const { return z_.get(); }
  float* s_memory() { return s_.get(); }
  float* z_memory() { return z_.get(); }
  bool empty() const { return empty_; }
  // What is left of what it started with: the decay since then, 0 when a document's border was passed.
  float carry() const { return carry_; }

  // Over key rows [begin, end) of one chunk, in either direction: the gate's decay, or nothing left where a document ends.
  void pass(std::int64_t begin, std::int64_t end) {
    if (head_.segment_of(least(end, head_.length - 1)) > begin) {
      clear();
    } else if (head_.decay != nullptr) {
      const float factor = std::exp(head_.decay_between(begin - 1, end - 1));
      carry_ *= factor;
      scale_row(s_.get(), head_.features * stride_, factor, false, s_.get());
      scale_row(z_.get(), head_.features, factor, false, z_.get());
    }
  }
  void added() { empty_ = false; }
  void restart() { clear(); }

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

  const KeyHead& head_;
  std::int64_t stride_;
  Buffer<float> s_, z_;
  bool empty_ = true;
  float carry_ = 1;
};

// Σ φ(k) [v, 1]ᵀ of the key rows before `absorbed` (those of the current document, sinks left out), decayed to row absorbed
// − 1.
template <class Math>
class ChunkState {
 public:
  using Number = typename Math::Number;

  // Begins at key row `absorbed` with the state `from`, see StateSum.
  ChunkState(const KeyHead& head, KeyChunks<Math>& chunks, std::int64_t absorbed, const float* from)
      : head_(head),
        chunks_(chunks),
        sum_(head, from),
        weighted_(head.features * kTileRows),
        right_(Math::kPair > 1 ? even(head.features) * head.dim : 1),
        absorbed_(absorbed) {}

  const StateSum& sum() const { return sum_; }

  // S as a right side [F, D].
  View<Number> right() {
    const View<float> s = sum_.s();
    if (changed_) right_view_ = Math::right_of_fp32(s.data, s.row, head_.features, head_.dim, right_.get());
    changed_ = false;
    return right_view_;
  }

  // Moves on to key row `end`.
  void absorb(std::int64_t end) {
    while (absorbed_ < end) {
      const std::int64_t a0 = absorbed_, a1 = least((chunk_of(a0) + 1) * kTileRows, end);
      sum_.pass(a0, a1);
      const std::int64_t start = head_.segment_of(least(a1, head_.length - 1));
      const std::int64_t first = clamp(start + head_.arguments.shape.sinks, a0, a1);
      if (first < a1) add(first, a1);
      absorbed_ = a1;
      changed_ = true;
    }
  }

  // Forgets all, for the next document of a bidirectional call.
  void restart() {
    sum_.restart();
    changed_ = true;
  }

  // Adds rows [first, end) of one chunk, decayed to row end − 1. What does not fit into pairs gets the weight 0.
  void add(std::int64_t first, std::int64_t end) {
    const std::int64_t chunk = chunk_of(first), begin = chunk * kTileRows;
    const std::int64_t at = (first - begin) / Math::kPair * Math::kPair, count = end - begin - at;
    View<Number> phi = chunks_.features_left(chunk), values = chunks_.values(chunk);
    phi.data += at;
    values.data += at * values.row;  // a row of pairs is kPair rows of numbers
    float weights[kTileRows];
    for (std::int64_t j = 0; j < count; ++j) {
      const std::int64_t row = begin + at + j;
      weights[j] = row < first ? 0.0f : head_.decay == nullptr ? 1.0f : std::exp(head_.decay_between(row, end - 1));
    }
    for (std::int64_t f = 0; f < head_.features; ++f) {
      sum_.z_memory()[f] += dot_of(phi.data + f * kTileRows, weights, count);
    }
    if (head_.decay != nullptr || begin + at < first || count % Math::kPair != 0) {
      for (std::int64_t f = 0; f < head_.features; ++f) {
        Number* row = weighted_.get() + f * kTileRows;
        multiply_row(phi.data + f * kTileRows, weights, count, row);
        if (count % Math::kPair != 0) row[count] = 0;
      }
      phi.data = weighted_.get();
    }
    Math::product(head_.features, head_.dim, count, phi, values, sum_.s_memory(), sum_.s().row, Store::kAdd);
    sum_.added();
    changed_ = true;
  }

 private:
  const KeyHead& head_;
  KeyChunks<Math>& chunks_;
  StateSum sum_;
  Buffer<Number> weighted_, right_;
  View<Number> right_view_{};
  std::int64_t absorbed_;
  bool changed_ = true;
};

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

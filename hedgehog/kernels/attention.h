// The seam between tensors and arithmetic: attention of every kind on plain pointers and strides.
//
// One operator covers softmax, linear and hybrid attention. Row i gives key j of its document (j ≤ i when causal) the weight
//   w_ij = exp(scale · q_i·k_j)                               where j is exact: of the last `window` or the first `sinks` keys
//   w_ij = exp(ℓ_i + Σ_{t=j+1..i} log γ_t) · φ(q_i)·φ(k_j)    elsewhere, the linear part
// and the output is y_i = Σ_j w_ij v_j / Σ_j w_ij, computed with the row's maximum taken out, 0 where the denominator is 0.
// features = 0 with window = 0 is softmax over all keys; window = 0 with features > 0 is linear attention.
#pragma once

#include "hedgehog/kernels/element.h"

#include <cstdint>
#include <functional>

namespace hedgehog::kernels {

/// Runs body(begin, end) over pieces of [0, count), possibly on several threads.
using ParallelFor = std::function<void(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body)>;

/// A [batch, heads, rows, width] array: pointer and strides in elements; the innermost stride is 1.
template <typename T>
struct Strided {
  T* data = nullptr;
  std::int64_t batch = 0, head = 0, row = 0;

  T* at(std::int64_t b, std::int64_t h, std::int64_t i = 0) const { return data + b * batch + h * head + i * row; }
  explicit operator bool() const { return data != nullptr; }
};

/// The same of fp32 or bf16 numbers, to be read.
struct Rows {
  const void* data = nullptr;
  Element element = Element::kFloat32;
  std::int64_t batch = 0, head = 0, row = 0;

  template <typename T>
  const T* at(std::int64_t b, std::int64_t h, std::int64_t i = 0) const {
    return static_cast<const T*>(data) + b * batch + h * head + i * row;
  }
};

/// The same, to be written.
struct MutableRows {
  void* data = nullptr;
  Element element = Element::kFloat32;
  std::int64_t batch = 0, head = 0, row = 0;

  template <typename T>
  T* at(std::int64_t b, std::int64_t h, std::int64_t i = 0) const {
    return static_cast<T*>(data) + b * batch + h * head + i * row;
  }
  explicit operator bool() const { return data != nullptr; }
};

struct AttentionShape {
  std::int64_t batch = 0, heads = 0, kv_heads = 0;  // heads is a multiple of kv_heads
  std::int64_t length = 0;                          // key rows
  std::int64_t query_begin = 0;                     // rows before it are keys only: query row 0 stands at key row query_begin
  std::int64_t dim = 0, features = 0;               // D, F
  std::int64_t window = 0, sinks = 0;
  bool causal = true;  // false: linear attention only, over all unmasked keys
  float scale = 1;     // of q·k

  std::int64_t query_rows() const { return length - query_begin; }
};

enum class Activation {
  kSplitSoftmax,  // [softmax(u), softmax(−u)]
  kJointSoftmax,  // softmax([2u, −2u])
  kExp,           // [exp(u − m), exp(−u − m)], m = max |u| of the row: a log scale that the caller has to carry
};

/// A map inside the operator, so that no [N, F] array is needed: φ(x) = activation(W x + b), F = 2·width.
struct FeatureMap {
  Activation activation = Activation::kSplitSoftmax;
  std::int64_t width = 0;                              // M; 0: there is no map, φ is given or not needed
  const float *q_weight = nullptr, *q_bias = nullptr;  // [H, M, D], [H, M]
  const float *k_weight = nullptr, *k_bias = nullptr;  // [G, M, D], [G, M]
  // kExp: r [B, G, length] contiguous, at least about max |W k_j + b|: φ(k_j) = exp(±u_j − r_j). Its queries' log scales m_i
  // are added to ℓ_i; where r is a running maximum, r_{i−1} − r_i is for the caller to add to log γ_i and r_i to ℓ_i.
  const float* k_reference = nullptr;
};

/// What a linear state's numbers are kept as. int8: times a scale of their row.
enum class StateElement { kFloat32, kBfloat16, kInt8 };

/// A linear state as calls hand it on: S = Σ φ(k) vᵀ and z = Σ φ(k), contiguous. z stays in fp32. bf16 and int8 are rounded
/// at random, up as often as the rest that is cut is large, so that what is added in many small steps is not lost.
struct LinearState {
  void* s = nullptr;  // [B, G, F, D]; null: there is no state
  StateElement element = StateElement::kFloat32;
  float* scale = nullptr;  // [B, G, F], of int8 only: a number is scale_f · s_fd
  float* z = nullptr;      // [B, G, F]

  explicit operator bool() const { return s != nullptr; }
};

struct AttentionArguments {
  AttentionShape shape;
  Rows q, k;                          // [B, H, query_rows, D], [B, G, length, D]; only read for exact keys and the map
  Rows v;                             // [B, G, length, D]; of q's and k's element
  Strided<const float> phi_q, phi_k;  // [B, H, query_rows, F], [B, G, length, F]; null when features = 0 or there is a map
  FeatureMap map;
  const float* row_log_scale = nullptr;         // ℓ [B, H, query_rows] contiguous; null: 0
  const float* log_gate = nullptr;              // log γ ≤ 0 [B, G, length] contiguous; null: no decay
  const std::int32_t* segment_start = nullptr;  // [B, length] contiguous, non-decreasing, ≤ its row; null: one document
  const std::int32_t* key_count = nullptr;      // [B], not causal: keys from this one on are padding; null: none is
  // Continuing a sequence (one document): the linear state just before key row 0, and exact keys that every row sees.
  LinearState state_in;             // not written to, unless it is state_out too
  std::uint32_t rounding_seed = 0;  // of state_out's random rounding: another one for each call that continues a sequence
  Rows prefix_k, prefix_v;          // [B, G, prefix_rows, D], of q's element
  std::int64_t prefix_rows = 0;
  // What backward needs and forward has in passing: block_state_floats(shape) numbers that forward writes and backward reads.
  // Null: forward keeps nothing, backward computes them anew.
  float* block_states = nullptr;
};

/// The states before each of the blocks of rows that backward works on [B · G, blocks, F, D + 1]; 0 where there is one block.
std::int64_t block_state_floats(const AttentionShape& shape);

/// Forward. out [B, H, query_rows, D], fp32 or bf16; row_max and inverse_sum [B, H, query_rows] contiguous are what backward
/// needs: the row's maximum M_i that was taken out and 1/Σ_j w_ij e^{-M_i} (0 where there is nothing to divide by); null
/// without one. state_out (may be none, may be state_in): the state after the non-sink key rows [0, absorb_end); of state_in's
/// element. Its rounding depends on the seed and the place within one sequence's state: neither on the other sequences of the
/// batch nor on the number of threads.
void attention_forward(const AttentionArguments& arguments, const MutableRows& out, float* row_max, float* inverse_sum,
                       const LinearState& state_out, std::int64_t absorb_end, const ParallelFor& parallel_for);

/// Where backward leaves its gradients; every array is overwritten. q and k may be null where only φ depends on them; phi_q and
/// phi_k are null when there is a map, whose gradients stand in their place.
struct AttentionGradients {
  // dq [B, H, N, D], dk and dv [B, G, N, D], fp32 or bf16. dk and dv in bf16 only without exact keys: these are summed in
  // place.
  MutableRows q, k, v;
  Strided<float> phi_q, phi_k;                                                           // [B, H, N, F], [B, G, N, F]
  float *q_weight = nullptr, *q_bias = nullptr, *k_weight = nullptr, *k_bias = nullptr;  // FeatureMap's shapes
  float *q_dot = nullptr, *k_dot = nullptr;  // φ(q_i)·dφ(q_i) [B, H, N], φ(k_i)·dφ(k_i) [B, G, N]; may be null
};

/// Backward of attention_forward for query_begin = 0, no state and no prefix. out, row_max, inverse_sum are forward's; out and
/// out_gradient are of q's element.
/// The gradients of ℓ and log γ follow from those of φ: dℓ_i = φ(q_i)·dφ(q_i), and Σ_{i ≥ t} (dℓ_i − φ(k_i)·dφ(k_i)) for log
/// γ_t. Deterministic for any number of threads. Memory O(length · (D + F)) a thread.
void attention_backward(const AttentionArguments& arguments, const Rows& out, const Rows& out_gradient, const float* row_max,
                        const float* inverse_sum, const AttentionGradients& gradients, const ParallelFor& parallel_for);

/// Query rows that stand at key rows first, first + step, …; by default at all of them.
struct QueryRows {
  std::int64_t first = 0, step = 1;

  std::int64_t at(std::int64_t row) const { return first + row * step; }
  std::int64_t count(std::int64_t length) const { return first < length && step > 0 ? (length - first + step - 1) / step : 0; }
};

/// What distillation computes beside the gradients, of its query rows.
struct DistillationResult {
  float *cross_entropy = nullptr, *entropy = nullptr;  // [B, H, rows] contiguous
  MutableRows teacher;                                 // [B, H, rows, D], softmax's output; null: not wanted
};

/// Distillation: per row i the cross-entropy −Σ_j p_ij log a_ij of softmax's weights p (window = all, or `teacher_window`) and
/// this attention's a, softmax's entropy −Σ_j p_ij log p_ij, and its output Σ_j p_ij v_j. gradients, of gradient_scale · Σ_i
/// CE_i: those of the map, or of phi_q and phi_k where these are given, and q_dot and k_dot if they are not null; nothing where
/// gradient_scale is 0. No state, no prefix, teacher_window only where causal; q, phi_q, row_log_scale and their gradients are
/// of `rows` alone. Rows of padding (key_count) count nowhere, and what belongs to them is not written. Exact softmax rows, a
/// tile of rows at a time: O(length) memory. v is read for softmax's output alone.
void attention_distillation(const AttentionArguments& arguments, const QueryRows& rows, std::int64_t teacher_window,
                            float gradient_scale, const DistillationResult& output, const AttentionGradients& gradients,
                            const ParallelFor& parallel_for);

/// The instruction set that the kernels run on: "avx2", "avx512-bf16", ... The best, or HEDGEHOG_ISA's (Error if it is none).
const char* instruction_set();

}  // namespace hedgehog::kernels

// What attention is measured on: a model's heads, a length, a dtype and a kind of work, with random numbers for it and the
// count of what the linear form multiplies.
#pragma once

#include "hedgehog/attention/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace hedgehog {

struct HeadShape {
  std::string name;
  std::int64_t heads = 1, kv_heads = 1, dim = 64;
  bool causal = true;
};

/// "smollm2", "llama3", "bert" (bidirectional), "one-head".
const std::vector<HeadShape>& head_shapes();

enum class Work {
  kForward,  // all rows
  kTrain,    // forward and backward, gradients of q, k, v and the maps
  kDistill,  // Attention::distill with both losses and the gradients of the maps
  kDecode,   // one row more, after `length` rows
};
/// "forward", "train", "distill", "decode".
std::string to_string(Work work);
const std::vector<Work>& all_works();

struct AttentionProblem {
  HeadShape shape;
  Work work = Work::kForward;
  std::int64_t batch = 1, length = 1;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::string> maps = {};  // feature maps that are measured beside hedgehog-softmax

  std::int64_t rows() const { return work == Work::kDecode ? 1 : length; }  // of q, k, v in one call
};

/// Whether Hedgehog has that form: a bidirectional attention is neither distilled nor decoded.
bool is_possible(const AttentionProblem& problem);

/// q, k, v of one call, the same for the same problem; they ask for gradients when the work is kTrain. Few rows are drawn and
/// repeated, since no form's speed depends on them and drawing a hundred million numbers takes seconds.
AttentionInput random_input(const AttentionProblem& problem);
/// [batch, heads, length, dim] drawn in that way.
at::Tensor random_rows(const AttentionProblem& problem, std::int64_t heads, std::int64_t length, std::uint64_t seed);

/// Linear attention with that map, M = D, no gate; its weights ask for gradients when the work needs them.
Attention linear_attention(const AttentionProblem& problem, const std::string& map = "hedgehog-softmax");

/// Multiplications and additions of one call in the linear form. Forward: the maps, the causal products inside chunks of 64
/// rows, reading and updating the state; train: three times that. Distill: train, and for each pair of a row and a key that it
/// sees the teacher's scores and output, the linear weights and their gradients. What a form computes anew is not counted.
/// Other forms are held to the same count.
double linear_flops(const AttentionProblem& problem);

/// Bytes that one decoding step must move: the state read and written, the maps, q, k, v and the result.
double decode_bytes(const AttentionProblem& problem);

/// Bytes of q, k, v (train: and of the gradient that comes in), and of what a call returns (train: and of dq, dk, dv).
double input_bytes(const AttentionProblem& problem);
double output_bytes(const AttentionProblem& problem);

}  // namespace hedgehog

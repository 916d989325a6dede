// The forms that do one problem: Hedgehog's own and its opponents', each ready to be called again and again.
#pragma once

#include "hedgehog/benchmark/problem.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace hedgehog {

/// One form on one problem's numbers.
struct PreparedForm {
  std::function<void()> call;
  double carried_bytes = 0;  // decode: the state or the cache that is kept from token to token
};

struct Form {
  std::string who;     // "hedgehog", "sdpa", "composed", "eager"; of several with one name the fastest counts
  std::string detail;  // "chunk 64"
  double flops = 0;    // roughly what a call multiplies, to tell calls that would take too long
  double bytes = 0;    // roughly what it needs beside the input, to tell those that would not fit
  std::function<PreparedForm(const AttentionInput&)> prepare;  // of random_input()
};

/// Steps of one layer after the other, as a model's go, of so many that their states do not fit into the caches; the states in
/// fp32, bf16 or int8. carried_bytes: of one layer.
PreparedForm decode_steps(const AttentionProblem& problem, const AttentionInput& input, at::ScalarType state_dtype,
                          const std::string& map = "hedgehog-softmax");

/// Hedgehog's form first, then softmax and the chunked forms in LibTorch's operators, then the problem's maps. Lengths that a
/// chunked form's chunk does not divide leave it out; so does the eager distillation above 4,096 rows.
std::vector<Form> forms_of(const AttentionProblem& problem);

}  // namespace hedgehog

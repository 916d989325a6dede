#include "hedgehog/benchmark/problem.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

namespace hedgehog {
namespace {

// Of the count: rows of a chunk see each other's keys in a product, all earlier keys in the state.
constexpr std::int64_t kChunk = 64;
constexpr std::int64_t kDrawnRows = 1024;

/// What enters the formulas, as double: a product of integers could overflow for lengths that only have to be refused.
struct Sizes {
  double batch, length, rows, heads, keys, dim, features, element;

  explicit Sizes(const AttentionProblem& p)
      : batch(static_cast<double>(p.batch)),
        length(static_cast<double>(p.length)),
        rows(static_cast<double>(p.rows())),
        heads(static_cast<double>(p.shape.heads)),
        keys(static_cast<double>(p.shape.kv_heads)),
        dim(static_cast<double>(p.shape.dim)),
        features(2 * dim),
        element(static_cast<double>(at::elementSize(p.dtype))) {}
};

/// Σ_i (i mod 64 + 1): pairs of a row and a key of its chunk up to its own.
double near_pairs(std::int64_t length) {
  const std::int64_t chunks = length / kChunk, rest = length % kChunk;
  const std::int64_t pairs = (chunks * kChunk * (kChunk + 1) + rest * (rest + 1)) / 2;
  return static_cast<double>(pairs);
}

double forward_flops(const AttentionProblem& problem) {
  const Sizes s(problem);
  const double maps = 2 * s.dim * s.dim * (s.heads + s.keys) * s.rows;
  const double state = 2 * s.features * (s.dim + 1) * (s.heads + s.keys) * s.rows;
  const bool chunked = problem.shape.causal && problem.work != Work::kDecode;
  const double inside = chunked ? 2 * near_pairs(problem.length) * (s.features + s.dim) * s.heads : 0;
  return s.batch * (maps + inside + state);
}

}  // namespace

const std::vector<HeadShape>& head_shapes() {
  static const std::vector<HeadShape> shapes = {
      {"smollm2", 9, 3, 64, true}, {"llama3", 32, 8, 128, true}, {"bert", 12, 12, 64, false}, {"one-head", 1, 1, 64, true}};
  return shapes;
}

std::string to_string(Work work) {
  switch (work) {
    case Work::kForward:
      return "forward";
    case Work::kTrain:
      return "train";
    case Work::kDistill:
      return "distill";
    case Work::kDecode:
      return "decode";
  }
  return "";
}

const std::vector<Work>& all_works() {
  static const std::vector<Work> works = {Work::kForward, Work::kTrain, Work::kDistill, Work::kDecode};
  return works;
}

bool is_possible(const AttentionProblem& problem) {
  return problem.shape.causal || problem.work == Work::kForward || problem.work == Work::kTrain;
}

at::Tensor random_rows(const AttentionProblem& problem, std::int64_t heads, std::int64_t length, std::uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  const std::int64_t drawn = std::min(length, kDrawnRows);
  const at::Tensor few = at::randn({problem.batch, heads, drawn, problem.shape.dim}, generator).to(problem.dtype);
  if (drawn == length) return few;
  at::Tensor all = at::empty({problem.batch, heads, length, problem.shape.dim}, few.options());
  for (std::int64_t begin = 0; begin < length; begin += drawn) {
    const std::int64_t count = std::min(drawn, length - begin);
    all.narrow(2, begin, count).copy_(few.narrow(2, 0, count));
  }
  return all;
}

AttentionInput random_input(const AttentionProblem& problem) {
  const auto random = [&](std::int64_t heads, std::uint64_t seed) {
    return random_rows(problem, heads, problem.rows(), seed).set_requires_grad(problem.work == Work::kTrain);
  };
  AttentionInput input;
  input.q = random(problem.shape.heads, 0);
  input.k = random(problem.shape.kv_heads, 1);
  input.v = random(problem.shape.kv_heads, 2);
  return input;
}

Attention linear_attention(const AttentionProblem& problem, const std::string& map) {
  AttentionConfig config;
  config.feature_map = map;
  config.kind = AttentionKind::kLinear;
  config.causal = problem.shape.causal;
  const HeadShape& shape = problem.shape;
  Attention attention(config, shape.heads, shape.kv_heads, shape.dim, shape.heads * shape.dim);
  const bool learns = problem.work == Work::kTrain || problem.work == Work::kDistill;
  for (const auto& [name, tensor] : attention.parameters()) tensor->set_requires_grad(learns);
  return attention;
}

double linear_flops(const AttentionProblem& problem) {
  const double forward = forward_flops(problem);
  if (problem.work == Work::kForward || problem.work == Work::kDecode) return forward;
  if (problem.work == Work::kTrain) return 3 * forward;
  const Sizes s(problem);
  const double pairs = s.batch * s.heads * s.length * (s.length + 1) / 2;
  return 3 * forward + pairs * 2 * (2 * s.dim + 3 * s.features);
}

double decode_bytes(const AttentionProblem& problem) {
  const Sizes s(problem);
  const double state = 4 * s.batch * s.keys * s.features * (s.dim + 1);
  const double maps = 4 * (s.heads + s.keys) * (s.dim + 1) * s.dim;
  return 2 * state + maps + s.batch * 2 * (s.heads + s.keys) * s.dim * s.element;
}

double input_bytes(const AttentionProblem& problem) {
  const Sizes s(problem);
  const double heads = s.heads + 2 * s.keys + (problem.work == Work::kTrain ? s.heads : 0);
  return s.batch * heads * s.rows * s.dim * s.element;
}

double output_bytes(const AttentionProblem& problem) {
  const Sizes s(problem);
  if (problem.work == Work::kDistill) return 4 * (s.heads + s.keys) * (s.dim + 1) * s.dim;  // the maps' gradients
  const double heads = s.heads + (problem.work == Work::kTrain ? s.heads + 2 * s.keys : 0);
  return s.batch * heads * s.rows * s.dim * s.element;
}

}  // namespace hedgehog

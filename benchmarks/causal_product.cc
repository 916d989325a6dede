// Linear attention alone with the features given, fp32, as pytorch-fast-transformers' causal_product has it: [1, 9, N, 128]
// features, values of 64. Names: forward/n:N and backward/n:N, the latter without the forward pass before it. `--write FILE N`:
// the output and the gradients for φ(q), φ(k) and v as raw fp32, one after the other. compare_causal_product checks and
// compares them.
#include "hedgehog/attention/attention_operator.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace {

constexpr std::int64_t kHeads = 9, kFeatures = 128, kDim = 64;

// Numbers of [0, 1) that opponents/causal_product.py makes alike.
at::Tensor numbers(std::int64_t length, std::int64_t width, std::int64_t seed) {
  const at::Tensor i = at::arange(kHeads * length * width, at::kLong) + seed * 1000003;
  return ((i * 2654435761).bitwise_and(0xffffffff).bitwise_right_shift(8).to(at::kFloat) / (1 << 24))
      .reshape({1, kHeads, length, width});
}

struct Problem {
  hedgehog::OperatorInput input;
  at::Tensor direction;  // the output's gradient

  explicit Problem(std::int64_t length, bool gradients) {
    input.phi_q = numbers(length, kFeatures, 1).set_requires_grad(gradients);
    input.phi_k = numbers(length, kFeatures, 2).set_requires_grad(gradients);
    input.v = (numbers(length, kDim, 3) - 0.5).set_requires_grad(gradients);
    direction = numbers(length, kDim, 4) - 0.5;
    input.q = input.k = at::zeros_like(direction);  // read for exact keys only, and there are none
  }

  void forget_gradients() {
    for (const at::Tensor* x : {&input.phi_q, &input.phi_k, &input.v}) x->mutable_grad().reset();
  }
};

void forward(benchmark::State& state) {
  const at::NoGradGuard no_gradients;
  const Problem problem(state.range(0), false);
  for (auto _ : state) benchmark::DoNotOptimize(hedgehog::attention_operator(problem.input).const_data_ptr());
}

void backward(benchmark::State& state) {
  Problem problem(state.range(0), true);
  for (auto _ : state) {
    const at::Tensor y = hedgehog::attention_operator(problem.input);
    const auto start = std::chrono::steady_clock::now();
    torch::autograd::backward({y}, {problem.direction});
    state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    problem.forget_gradients();
  }
}

int write(const char* path, std::int64_t length) {
  Problem problem(length, true);
  const at::Tensor y = hedgehog::attention_operator(problem.input);
  torch::autograd::backward({y}, {problem.direction});
  std::ofstream file(path, std::ios::binary);
  for (const at::Tensor& x : {y.detach(), problem.input.phi_q.grad(), problem.input.phi_k.grad(), problem.input.v.grad()}) {
    const at::Tensor rows = x.contiguous();
    file.write(reinterpret_cast<const char*>(rows.const_data_ptr<float>()), static_cast<std::streamsize>(rows.nbytes()));
  }
  return file.flush() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* threads = std::getenv("HEDGEHOG_THREADS")) at::set_num_threads(std::atoi(threads));
  if (argc == 4 && std::strcmp(argv[1], "--write") == 0) return write(argv[2], std::atoll(argv[3]));
  for (const std::int64_t length : {512, 1024, 2048, 4096, 8192, 16384, 32768}) {
    benchmark::RegisterBenchmark("forward", forward)->ArgName("n")->Arg(length)->UseRealTime()->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark("backward", backward)
        ->ArgName("n")
        ->Arg(length)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

// Products of a model's training, SmolLM2's shapes: models/matrix_product against ATen, in turns in one process. GFLOP/s.
#include "hedgehog/models/matrix_product.h"

#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <utility>

namespace {

enum Program { kHedgehog, kAten };
// y = x Wᵀ, dx = dy W, dW = dyᵀ x.
enum Product { kForward, kInput, kWeight };

void product(benchmark::State& state) {
  const std::int64_t rows = state.range(2), in = state.range(3), out = state.range(4);
  const at::Tensor x = at::randn({rows, in}), weight = at::randn({out, in}), dy = at::randn({rows, out});
  const auto operands = [&]() -> std::pair<at::Tensor, at::Tensor> {
    if (state.range(1) == kForward) return {x, weight.t()};
    if (state.range(1) == kInput) return {dy, weight};
    return {dy.t(), x};
  }();
  const bool ours = state.range(0) == kHedgehog;
  const auto multiply = [&] {
    return ours ? hedgehog::matrix_product(operands.first, operands.second) : at::mm(operands.first, operands.second);
  };
  const double difference = (multiply() - at::mm(operands.first, operands.second)).abs().max().item<double>();
  if (difference > 1e-2) return state.SkipWithError("the two do not agree");
  for (auto _ : state) benchmark::DoNotOptimize(multiply());
  const double flops = 2.0 * static_cast<double>(rows * in * out);
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void shapes(benchmark::internal::Benchmark* all) {
  for (const auto& [in, out] : {std::pair{576, 192}, {576, 576}, {576, 1536}, {1536, 576}, {576, 49152}}) {
    for (const int product : {kForward, kInput, kWeight}) {
      for (const int program : {kHedgehog, kAten}) all->Args({program, product, out == 49152 ? 256 : 512, in, out});
    }
  }
}

}  // namespace

BENCHMARK(product)
    ->ArgNames({"aten", "product", "rows", "in", "out"})
    ->Apply(shapes)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

BENCHMARK_MAIN();

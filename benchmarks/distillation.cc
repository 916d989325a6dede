// One layer's distillation step in tiles (Attention::distill): seconds, and with --memory the peak of resident memory.
// The inputs are those of opponents/distill_eager.py, number by number, so that both programs' losses must agree.
#include "hedgehog/attention/attention.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace {

// SmolLM2-135M's shapes.
constexpr std::int64_t kHeads = 9, kKeyValueHeads = 3, kDim = 64, kHidden = 576;

hedgehog::AttentionInput random_input(std::int64_t batch, std::int64_t length) {
  auto generator = at::detail::createCPUGenerator(0);
  const auto random = [&](std::int64_t heads) { return at::randn({batch, heads, length, kDim}, generator); };
  hedgehog::AttentionInput input;
  input.q = random(kHeads);
  input.k = random(kKeyValueHeads);
  input.v = random(kKeyValueHeads);
  return input;
}

hedgehog::Attention linear_attention() {
  hedgehog::AttentionConfig config;
  config.kind = hedgehog::AttentionKind::kLinear;
  hedgehog::Attention attention(config, kHeads, kKeyValueHeads, kDim, kHidden);
  for (const auto& [name, tensor] : attention.parameters()) tensor->set_requires_grad(true);
  return attention;
}

void distill(benchmark::State& state, double weights_factor, double output_factor) {
  const hedgehog::AttentionInput input = random_input(state.range(0), state.range(1));
  hedgehog::Attention attention = linear_attention();
  hedgehog::Attention::DistillationLoss loss;
  for (auto _ : state) {
    loss = attention.distill(input, weights_factor, output_factor, 1.0);
    for (const auto& [name, tensor] : attention.parameters()) tensor->mutable_grad().reset();
  }
  state.counters["loss"] = (weights_factor > 0 ? weights_factor * loss.cross_entropy : 0) + output_factor * loss.output_error;
  state.counters["threads"] = at::get_num_threads();
}

// A number of kilobytes from /proc/self/status, such as VmHWM, in MiB.
double memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::strtod(line.c_str() + name.size() + 1, nullptr) / 1024;
  }
  return 0;
}

// Everything that the step needs is counted, its inputs too; what the program held before is not.
int measure_memory(std::int64_t length) {
  linear_attention().distill(random_input(1, 64), 1, 1, 1);  // LibTorch's own start-up
  const double before = memory("VmRSS");
  hedgehog::Attention attention = linear_attention();
  const auto loss = attention.distill(random_input(1, length), 1, 1, 1);
  const double growth = memory("VmHWM") - before;
  std::printf("distil one layer, %lld tokens: peak resident memory +%.0f MiB (limit 2048), cross-entropy %.4f\n",
              static_cast<long long>(length), growth, loss.cross_entropy);
  return growth <= 2048 ? 0 : 1;
}

void add(const char* name, double weights_factor, double output_factor) {
  benchmark::RegisterBenchmark(name, distill, weights_factor, output_factor)
      ->ArgNames({"batch", "n"})
      ->Args({4, 256})
      ->Args({1, 2048})
      ->UseRealTime()
      ->Unit(benchmark::kSecond);
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* threads = std::getenv("HEDGEHOG_THREADS")) at::set_num_threads(std::atoi(threads));
  if (argc > 1 && std::strcmp(argv[1], "--memory") == 0) return measure_memory(argc > 2 ? std::atoll(argv[2]) : 16384);
  add("distill/weights", 1, 0);
  add("distill/output", 0, 1);
  add("distill/both", 1, 1);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

// Attention alone: Hedgehog's operator, the softmax that LibTorch offers (scaled_dot_product_attention) and the chunked linear
// attention that a user would write in a dozen lines, on the same numbers, beside the machine's own product and copy rates.
// Names: WHAT/WHO/DTYPE/shape/b:B/n:N with WHAT forward or train (forward + backward), and decode/hedgehog/STATE/shape/b:B, one
// token for each of B sequences with the linear state in fp32, bf16 or int8. compare_attention prints the ratios.
#include "hedgehog/base/freed_memory.h"
#include "hedgehog/benchmark/forms.h"
#include "hedgehog/benchmark/machine.h"

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

namespace {

using hedgehog::AttentionProblem;
using hedgehog::Work;

void measure(benchmark::State& state, const AttentionProblem& problem, const hedgehog::Form& form) {
  const hedgehog::PreparedForm prepared = form.prepare(random_input(problem));
  prepared.call();
  for (auto _ : state) prepared.call();
  const double tokens = static_cast<double>(problem.batch * problem.rows());
  state.counters["tokens_per_second"] = benchmark::Counter(tokens, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["flops"] = benchmark::Counter(linear_flops(problem), benchmark::Counter::kIsIterationInvariantRate);
}

void add_problem(const AttentionProblem& problem) {
  for (const hedgehog::Form& form : forms_of(problem)) {
    // Quadratic: beyond this one call takes most of a minute.
    if (form.who == "sdpa" && problem.length > 32768) continue;
    const std::string chunk = form.detail.substr(form.detail.find(' ') + 1);  // "chunk 64"
    const std::string name = to_string(problem.work) + "/" + form.who + chunk +
                             (problem.dtype == at::kFloat ? "/fp32/" : "/bf16/") + problem.shape.name +
                             "/b:" + std::to_string(problem.batch) + "/n:" + std::to_string(problem.length);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { measure(state, problem, form); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

// The bytes are those of the states, read and written.
void decode(benchmark::State& state, const hedgehog::HeadShape& shape, std::int64_t batch, at::ScalarType dtype) {
  const AttentionProblem problem{shape, Work::kDecode, batch, 64, at::kFloat};
  const hedgehog::PreparedForm prepared = decode_steps(problem, random_input(problem), dtype);
  for (auto _ : state) prepared.call();
  state.SetBytesProcessed(2 * static_cast<std::int64_t>(prepared.carried_bytes) *
                          static_cast<std::int64_t>(state.iterations()));
  state.counters["tokens_per_second"] =
      benchmark::Counter(static_cast<double>(batch), benchmark::Counter::kIsIterationInvariantRate);
}

void product(benchmark::State& state, at::ScalarType dtype) {
  const hedgehog::MachineProbe probe = hedgehog::product_probe(dtype);
  probe.call();
  for (auto _ : state) probe.call();
  state.counters["flops"] = benchmark::Counter(probe.amount, benchmark::Counter::kIsIterationInvariantRate);
}

void copy(benchmark::State& state) {
  const hedgehog::MachineProbe probe = hedgehog::copy_probe();
  for (auto _ : state) probe.call();
  state.SetBytesProcessed(static_cast<std::int64_t>(probe.amount) * static_cast<std::int64_t>(state.iterations()));
}

}  // namespace

int main(int argc, char** argv) {
  hedgehog::keep_freed_memory();  // as the program does: opponents gain as much
  if (const char* threads = std::getenv("HEDGEHOG_THREADS")) at::set_num_threads(std::atoi(threads));
  benchmark::RegisterBenchmark("product/fp32", product, at::kFloat)->UseRealTime()->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("product/bf16", product, at::kBFloat16)->UseRealTime()->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("copy", copy)->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const hedgehog::HeadShape& shape : hedgehog::head_shapes()) {
    for (const auto& [name, dtype] : {std::pair{"fp32", at::kFloat}, {"bf16", at::kBFloat16}, {"int8", at::kChar}}) {
      for (const std::int64_t batch : {1, 8, 64}) {
        if (!shape.causal) continue;
        const std::string full = std::string("decode/hedgehog/") + name + "/" + shape.name + "/b:" + std::to_string(batch);
        benchmark::RegisterBenchmark(full.c_str(), decode, shape, batch, dtype)->UseRealTime()->Unit(benchmark::kMicrosecond);
      }
    }
    for (const Work work : {Work::kForward, Work::kTrain}) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        for (const std::int64_t length : {128, 1024, 2048, 4096, 8192, 16384, 32768, 131072}) {
          add_problem({shape, work, 1, length, dtype});
        }
        add_problem({shape, work, 64, 128, dtype});
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

// Attention alone: Hedgehog's operator, the softmax that LibTorch offers (scaled_dot_product_attention) and the chunked linear
// attention that a user would write in a dozen lines, on the same numbers, beside the machine's own product and copy rates.
// Names: WHAT/WHO/DTYPE/shape/b:B/n:N with WHAT forward or train (forward + backward), and decode/hedgehog/STATE/shape/b:B, one
// token for each of B sequences with the linear state in fp32, bf16 or int8. compare_attention prints the ratios.
#include "hedgehog/attention/attention.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Shape {
  const char* name;
  std::int64_t heads, kv_heads, dim;
};

constexpr Shape kShapes[] = {{"smollm2", 9, 3, 64}, {"llama3", 32, 8, 128}, {"one_head", 1, 1, 64}};

struct Problem {
  Shape shape;
  std::int64_t batch, length;
  at::ScalarType dtype;
  bool train;
};

hedgehog::AttentionInput random_input(const Problem& p) {
  auto generator = at::detail::createCPUGenerator(0);
  const auto random = [&](std::int64_t heads) {
    return at::randn({p.batch, heads, p.length, p.shape.dim}, generator).to(p.dtype).set_requires_grad(p.train);
  };
  hedgehog::AttentionInput input;
  input.q = random(p.shape.heads);
  input.k = random(p.shape.kv_heads);
  input.v = random(p.shape.kv_heads);
  return input;
}

hedgehog::Attention linear_attention(const Problem& p) {
  hedgehog::AttentionConfig config;
  config.kind = hedgehog::AttentionKind::kLinear;
  hedgehog::Attention attention(config, p.shape.heads, p.shape.kv_heads, p.shape.dim, p.shape.heads * p.shape.dim);
  for (const auto& [name, tensor] : attention.parameters()) tensor->set_requires_grad(p.train);
  return attention;
}

// What the linear form has to multiply, forward: the maps, the causal products inside chunks of 64 rows, the state's reading
// and updating. Other forms are held to the same count: their "rate" is how much of this work they do a second.
double forward_flops(const Problem& p) {
  const double heads = static_cast<double>(p.shape.heads), keys = static_cast<double>(p.shape.kv_heads);
  const double dim = static_cast<double>(p.shape.dim), features = 2 * dim, near = 65.0 / 2;
  const double maps = 2 * dim * dim * (heads + keys), inside = 2 * near * (features + dim) * heads;
  const double state = 2 * features * (dim + 1) * (heads + keys);
  return static_cast<double>(p.batch * p.length) * (maps + inside + state);
}

using Form = std::function<at::Tensor(const hedgehog::AttentionInput&)>;

void measure(benchmark::State& state, const Problem& p, const Form& form) {
  const hedgehog::AttentionInput input = random_input(p);
  const at::AutoGradMode mode(p.train);
  const at::Tensor direction = at::ones({}, at::TensorOptions().dtype(p.dtype)).expand_as(input.q).contiguous();
  const auto run = [&] {
    const at::Tensor y = form(input);
    if (p.train) torch::autograd::backward({y}, {direction});
    for (const at::Tensor* x : {&input.q, &input.k, &input.v}) x->mutable_grad().reset();
    benchmark::DoNotOptimize(y.const_data_ptr());
  };
  run();
  for (auto _ : state) run();
  const double tokens = static_cast<double>(p.batch * p.length);
  state.counters["tokens_per_second"] = benchmark::Counter(tokens, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["flops"] =
      benchmark::Counter(forward_flops(p) * (p.train ? 3 : 1), benchmark::Counter::kIsIterationInvariantRate);
}

at::Tensor softmax(const hedgehog::AttentionInput& input) {
  return at::scaled_dot_product_attention(input.q, input.k, input.v, {}, 0.0, /*is_causal=*/true, std::nullopt,
                                          /*enable_gqa=*/input.q.size(1) != input.k.size(1));
}

// A chunked linear attention as one would write it in PyTorch, with the map and the normaliser.
at::Tensor composed(const hedgehog::AttentionInput& input, const at::Tensor& q_weight, const at::Tensor& k_weight,
                    std::int64_t chunk) {
  const auto batch = input.q.size(0), heads = input.q.size(1), length = input.q.size(2), dim = input.q.size(3);
  const auto features = [](const at::Tensor& x, const at::Tensor& weight) {
    const auto u = at::matmul(x, weight.transpose(-1, -2));
    return at::cat({u.softmax(-1), (-u).softmax(-1)}, -1);
  };
  const auto chunks = [&](const at::Tensor& x) { return x.reshape({batch, heads, length / chunk, chunk, x.size(3)}); };
  const auto group = heads / input.k.size(1);
  const auto q = chunks(features(input.q, q_weight));
  const auto k = chunks(features(input.k, k_weight).repeat_interleave(group, 1));
  const auto ones = at::ones({batch, heads, length, 1}, input.v.options());
  const auto v = chunks(at::cat({input.v.repeat_interleave(group, 1), ones}, -1));
  const auto sums = at::matmul(k.transpose(-1, -2), v);
  const auto before = sums.cumsum(2) - sums;
  const auto y = at::matmul(at::matmul(q, k.transpose(-1, -2)).tril(), v) + at::matmul(q, before);
  return (y.narrow(-1, 0, dim) / y.narrow(-1, dim, 1)).reshape({batch, heads, length, dim});
}

void add(const std::string& who, const Problem& p, const Form& form) {
  const std::string name = std::string(p.train ? "train/" : "forward/") + who + (p.dtype == at::kFloat ? "/fp32/" : "/bf16/") +
                           p.shape.name + "/b:" + std::to_string(p.batch) + "/n:" + std::to_string(p.length);
  benchmark::RegisterBenchmark(name.c_str(), [p, form](benchmark::State& state) { measure(state, p, form); })
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

void add_problem(const Problem& p) {
  add("hedgehog", p,
      [attention = linear_attention(p)](const hedgehog::AttentionInput& input) { return attention.forward(input); });
  // Quadratic: beyond this one call takes most of a minute.
  if (p.length <= 32768) add("sdpa", p, softmax);
  const auto map = [&](std::int64_t heads) {
    return at::eye(p.shape.dim).expand({heads, p.shape.dim, p.shape.dim}).contiguous().to(p.dtype).set_requires_grad(p.train);
  };
  for (const std::int64_t chunk : {64, 128, 256}) {
    if (p.length % chunk != 0) continue;
    add("composed" + std::to_string(chunk), p,
        [chunk, q = map(p.shape.heads), k = map(p.shape.kv_heads)](const hedgehog::AttentionInput& input) {
          return composed(input, q, k, chunk);
        });
  }
}

// One layer after the other, as a model's steps go, of so many that their states do not fit into the caches. The bytes are
// those of the states, read and written.
void decode(benchmark::State& state, const Shape& shape, std::int64_t batch, at::ScalarType dtype) {
  const at::NoGradGuard no_gradients;
  const Problem p{shape, batch, 1, at::kFloat, false};
  const hedgehog::Attention attention = linear_attention(p);
  const hedgehog::AttentionInput input = random_input(p);
  constexpr std::int64_t kBytes = std::int64_t{256} << 20;
  std::vector<hedgehog::AttentionState> layers;
  std::int64_t bytes = 0;
  while (bytes < kBytes || layers.size() < 2) {
    layers.emplace_back().dtype = dtype;
    // Twice, so that no number is zero.
    for (int step = 0; step < 2; ++step) attention.continue_from(layers.back(), input);
    bytes += layers.back().bytes();
  }
  std::size_t layer = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(attention.continue_from(layers[layer], input).const_data_ptr());
    layer = (layer + 1) % layers.size();
  }
  state.SetBytesProcessed(2 * layers.front().bytes() * static_cast<std::int64_t>(state.iterations()));
  state.counters["tokens_per_second"] =
      benchmark::Counter(static_cast<double>(batch), benchmark::Counter::kIsIterationInvariantRate);
}

void product(benchmark::State& state, at::ScalarType dtype) {
  const std::int64_t n = 2048;
  const auto a = at::randn({n, n}).to(dtype), b = at::randn({n, n}).to(dtype);
  auto c = at::mm(a, b);
  for (auto _ : state) at::mm_out(c, a, b);
  state.counters["flops"] = benchmark::Counter(2.0 * n * n * n, benchmark::Counter::kIsIterationInvariantRate);
}

void copy(benchmark::State& state) {
  const std::int64_t bytes = std::int64_t{256} << 20;
  const auto from = at::ones({bytes}, at::kByte);
  auto to = at::ones({bytes}, at::kByte);
  for (auto _ : state) {
    at::parallel_for(0, bytes, bytes / at::get_num_threads(), [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to.data_ptr<std::uint8_t>() + begin, from.const_data_ptr<std::uint8_t>() + begin,
                  static_cast<std::size_t>(end - begin));
    });
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(2 * bytes * static_cast<std::int64_t>(state.iterations()));
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* threads = std::getenv("HEDGEHOG_THREADS")) at::set_num_threads(std::atoi(threads));
  benchmark::RegisterBenchmark("product/fp32", product, at::kFloat)->UseRealTime()->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("product/bf16", product, at::kBFloat16)->UseRealTime()->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("copy", copy)->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const Shape& shape : kShapes) {
    for (const auto& [name, dtype] : {std::pair{"fp32", at::kFloat}, {"bf16", at::kBFloat16}, {"int8", at::kChar}}) {
      for (const std::int64_t batch : {1, 8, 64}) {
        const std::string full = std::string("decode/hedgehog/") + name + "/" + shape.name + "/b:" + std::to_string(batch);
        benchmark::RegisterBenchmark(full.c_str(), decode, shape, batch, dtype)->UseRealTime()->Unit(benchmark::kMicrosecond);
      }
    }
    for (const bool train : {false, true}) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        for (const std::int64_t length : {128, 1024, 2048, 4096, 8192, 16384, 32768, 131072}) {
          add_problem({shape, 1, length, dtype, train});
        }
        add_problem({shape, 64, 128, dtype, train});
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

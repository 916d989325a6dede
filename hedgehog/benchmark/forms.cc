#include "hedgehog/benchmark/forms.h"

#include "hedgehog/benchmark/opponents.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <memory>

namespace hedgehog {
namespace {

using Attend = std::function<at::Tensor(const AttentionInput&)>;

constexpr std::int64_t kComposedChunks[] = {64, 128, 256};
constexpr std::int64_t kMostEagerRows = 4096;
// Rows that a state is made of before decoding is measured: its size and its cost are the same after any number.
constexpr std::int64_t kStateRows = 64;
// Of the states that decoding goes through: several times any cache.
constexpr double kStateBytes = 256.0 * (1 << 20);

/// Numbers of one [batch, heads, length] array, and of all its pairs of rows and keys.
double head_rows(const AttentionProblem& p) {
  return static_cast<double>(p.batch) * static_cast<double>(p.shape.heads) * static_cast<double>(p.length);
}
double row_pairs(const AttentionProblem& p) {
  return head_rows(p) * static_cast<double>(p.length) / (p.shape.causal ? 2 : 1);
}

/// forward or train: the call of a function from q, k, v to y.
std::function<PreparedForm(const AttentionInput&)> passes(const AttentionProblem& problem, const Attend& attend) {
  return [train = problem.work == Work::kTrain, attend](const AttentionInput& input) {
    const at::Tensor direction = train ? at::ones_like(input.q, at::TensorOptions().requires_grad(false)) : at::Tensor();
    return PreparedForm{[=] {
      const at::AutoGradMode mode(train);
      const at::Tensor y = attend(input);
      if (!train) return;
      torch::autograd::backward({y}, {direction});
      for (const at::Tensor* x : {&input.q, &input.k, &input.v}) x->mutable_grad().reset();
    }};
  };
}

ComposedMaps composed_maps(const AttentionProblem& problem, at::ScalarType dtype) {
  const std::int64_t dim = problem.shape.dim;
  const bool learns = problem.work == Work::kTrain || problem.work == Work::kDistill;
  const auto map = [&](std::int64_t heads) {
    return at::eye(dim).expand({heads, dim, dim}).contiguous().to(dtype).set_requires_grad(learns);
  };
  return {map(problem.shape.heads), map(problem.shape.kv_heads)};
}

std::vector<Form> pass_forms(const AttentionProblem& problem) {
  const bool train = problem.work == Work::kTrain, causal = problem.shape.causal;
  const double rows = head_rows(problem), dim = static_cast<double>(problem.shape.dim), times = train ? 3 : 1;
  const double element = static_cast<double>(at::elementSize(problem.dtype)), features = 2 * dim;
  std::vector<Form> forms;
  forms.push_back({"hedgehog", "", linear_flops(problem), times * rows * dim * 8,
                   passes(problem, [attention = linear_attention(problem)](const AttentionInput& input) {
                     return attention.forward(input);
                   })});
  forms.push_back({"sdpa", "", (train ? 3.5 : 1) * row_pairs(problem) * 4 * dim, times * rows * dim * 8,
                   passes(problem, [causal](const AttentionInput& input) { return softmax_attention(input, causal); })});
  const double map_bytes = rows * features * element * 6;
  if (!causal) {
    forms.push_back({"composed", "", linear_flops(problem), times * map_bytes,
                     passes(problem, [maps = composed_maps(problem, problem.dtype)](const AttentionInput& input) {
                       return composed_bidirectional(input, maps);
                     })});
    return forms;
  }
  for (const std::int64_t chunk : kComposedChunks) {
    if (problem.length % chunk != 0) continue;
    const double width = static_cast<double>(chunk), states = rows / width * features * (dim + 1) * element * 4;
    forms.push_back({"composed", "chunk " + std::to_string(chunk), linear_flops(problem),
                     times * (map_bytes + states + rows * width * element * 2),
                     passes(problem, [chunk, maps = composed_maps(problem, problem.dtype)](const AttentionInput& input) {
                       return composed_attention(input, maps, chunk);
                     })});
  }
  return forms;
}

std::function<PreparedForm(const AttentionInput&)> distillation(const AttentionProblem& problem, const std::string& map) {
  return [problem, map](const AttentionInput& input) {
    return PreparedForm{[input, attention = linear_attention(problem, map)]() mutable {
      attention.distill(input, /*weights_factor=*/1, /*output_factor=*/1, /*gradient_scale=*/1);
      for (const auto& [name, tensor] : attention.parameters()) tensor->mutable_grad().reset();
    }};
  };
}

std::vector<Form> distill_forms(const AttentionProblem& problem) {
  const double rows = head_rows(problem), features = 2 * static_cast<double>(problem.shape.dim);
  std::vector<Form> forms;
  forms.push_back({"hedgehog", "", linear_flops(problem), rows * features * 4 * 8, distillation(problem, "hedgehog-softmax")});
  if (problem.length > kMostEagerRows) return forms;
  forms.push_back({"eager", "N×N", 2 * linear_flops(problem), rows * static_cast<double>(problem.length) * 4 * 10,
                   [problem](const AttentionInput& input) {
                     return PreparedForm{[input, maps = composed_maps(problem, at::kFloat)] {
                       eager_distillation(input, maps);
                       for (const at::Tensor* map : {&maps.q, &maps.k}) map->mutable_grad().reset();
                     }};
                   }});
  return forms;
}

std::vector<Form> decode_forms(const AttentionProblem& problem) {
  std::vector<Form> forms;
  forms.push_back({"hedgehog", "", linear_flops(problem), kStateBytes + 2 * decode_bytes(problem),
                   [problem](const AttentionInput& input) { return decode_steps(problem, input, at::kFloat); }});
  struct Cache {
    at::Tensor keys, values;
  };
  const auto cache = std::make_shared<Cache>();  // one for the three ways of reading it
  const auto element = static_cast<double>(at::elementSize(problem.dtype));
  const double numbers = static_cast<double>(problem.batch) * static_cast<double>(problem.shape.kv_heads) *
                         static_cast<double>(problem.length) * static_cast<double>(problem.shape.dim) * 2;
  using Read = at::Tensor (*)(const at::Tensor&, const at::Tensor&, const at::Tensor&);
  const std::pair<const char*, Read> ways[] = {
      {"grouped", cached_softmax_by_groups}, {"rows", cached_softmax_by_rows}, {"products", cached_softmax_by_products}};
  for (const auto& [detail, read] : ways) {
    forms.push_back({"sdpa", detail, 4 * head_rows(problem) * static_cast<double>(problem.shape.dim),
                     numbers * element + head_rows(problem) * 16, [=, read = read](const AttentionInput& input) {
                       if (!cache->keys.defined()) {
                         cache->keys = random_rows(problem, problem.shape.kv_heads, problem.length, 3);
                         cache->values = random_rows(problem, problem.shape.kv_heads, problem.length, 4);
                       }
                       return PreparedForm{[=] {
                                             const at::NoGradGuard guard;
                                             read(input.q, cache->keys, cache->values);
                                           },
                                           numbers * element};
                     }});
  }
  return forms;
}

/// The same work with each of the problem's maps, distillation for those that learn.
std::vector<Form> map_forms(const AttentionProblem& problem) {
  std::vector<Form> forms;
  for (const std::string& name : problem.maps) {
    const FeatureMap map = feature_map_named(name);
    if (problem.work == Work::kDistill && !map.learns()) continue;
    const auto features = static_cast<double>(map.map->features(problem.shape.dim));
    const double times = features / (2 * static_cast<double>(problem.shape.dim));  // hedgehog-softmax has 2·D
    Form form{name, "", times * linear_flops(problem), head_rows(problem) * features * 4 * 8, {}};
    if (problem.work == Work::kDecode) {
      form.bytes = kStateBytes + 2 * times * decode_bytes(problem);
      form.prepare = [problem, name](const AttentionInput& input) { return decode_steps(problem, input, at::kFloat, name); };
    } else if (problem.work == Work::kDistill) {
      form.prepare = distillation(problem, name);
    } else {
      form.prepare = passes(problem, [attention = linear_attention(problem, name)](const AttentionInput& input) {
        return attention.forward(input);
      });
    }
    forms.push_back(std::move(form));
  }
  return forms;
}

}  // namespace

PreparedForm decode_steps(const AttentionProblem& problem, const AttentionInput& input, at::ScalarType state_dtype,
                          const std::string& map) {
  AttentionProblem before = problem;
  before.work = Work::kForward;
  before.length = std::min(problem.length, kStateRows);
  const AttentionInput rows = random_input(before);
  const Attention attention = linear_attention(problem, map);
  const auto layers = std::make_shared<std::vector<AttentionState>>();
  double bytes = 0;
  while (bytes < kStateBytes || layers->size() < 2) {
    AttentionState& state = layers->emplace_back();
    state.dtype = state_dtype;
    attention.continue_from(state, rows);
    state.position = problem.length;
    bytes += static_cast<double>(state.bytes());
  }
  const double of_one = bytes / static_cast<double>(layers->size());
  const auto step = [=, layer = std::size_t{0}]() mutable {
    attention.continue_from((*layers)[layer], input);
    layer = (layer + 1) % layers->size();
  };
  return {step, of_one};
}

std::vector<Form> forms_of(const AttentionProblem& problem) {
  std::vector<Form> forms = problem.work == Work::kDistill  ? distill_forms(problem)
                            : problem.work == Work::kDecode ? decode_forms(problem)
                                                            : pass_forms(problem);
  for (Form& form : map_forms(problem)) forms.push_back(std::move(form));
  return forms;
}

}  // namespace hedgehog

// One token at a time with a state in fp32, bf16 or int8: against the definition in fp64, against one long call, and that its
// random rounding loses nothing on average, whatever the threads and the neighbours in the batch.
#include "hedgehog/attention/attention.h"
#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/attention/feature_map.h"
#include "hedgehog/base/error.h"
#include "tests/attention/random_input.h"
#include "tests/kernels/every_target.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace hedgehog {
namespace {

using testing::by_definition;
using testing::InputShape;
using testing::random_input;
using testing::relative_error;

constexpr at::ScalarType kStates[] = {at::kFloat, at::kBFloat16, at::kChar};

// Most that a rounding can be off, relative to the largest number of its row.
double rounding_unit(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? 1.0 / 128 : 1.0 / 127;
}

// Random rounding errors of the outputs, root mean square, after `roundings` of the state. A rounding up or down by at most
// `unit` · |s| has a variance of at most (unit · |s|)²/4, those of different steps are independent, and |s_fd| ≤ z_f max |v|;
// so each number of S is off by √roundings · unit/2 · z_f max |v|, and y = φ(q) S / φ(q)·z by no more than that without z_f.
double rounding_bound(at::ScalarType dtype, std::int64_t roundings, const at::Tensor& v) {
  return std::sqrt(static_cast<double>(roundings)) * rounding_unit(dtype) / 2 * v.abs().max().item<double>();
}

double root_mean_square(const at::Tensor& x) {
  return std::sqrt(x.to(at::kDouble).square().mean().item<double>());
}

void expect_close(const at::Tensor& found, const at::Tensor& expected, at::ScalarType dtype, std::int64_t roundings,
                  const at::Tensor& v) {
  if (dtype == at::kFloat) {
    EXPECT_LE(relative_error(found, expected), 2e-5);
  } else {
    EXPECT_TRUE(at::isfinite(found).all().item<bool>());
    EXPECT_LE(root_mean_square(found - expected), rounding_bound(dtype, roundings, v)) << at::toString(dtype);
  }
}

at::Tensor row(const at::Tensor& x, std::int64_t i) {
  return x.defined() ? x.slice(2, i, i + 1) : x;
}

// Linear attention's rows one by one.
at::Tensor decoded(const OperatorInput& input, at::ScalarType dtype, OperatorState& state, std::int64_t begin,
                   std::int64_t end) {
  std::vector<at::Tensor> rows;
  for (std::int64_t i = begin; i < end; ++i) {
    OperatorInput call;
    call.q = row(input.q, i);
    call.k = row(input.k, i);
    call.v = row(input.v, i);
    call.phi_q = row(input.phi_q, i);
    call.phi_k = row(input.phi_k, i);
    call.row_log_scale = row(input.row_log_scale, i);
    call.log_gate = row(input.log_gate, i);
    OperatorContinuation more;
    more.state = state;
    more.state_dtype = dtype;
    more.rounding_seed = i;
    more.absorb_end = 1;
    const auto output = continue_operator(call, more);
    state = output.state;
    rows.push_back(output.y);
  }
  return at::cat(rows, 2);
}

at::Tensor decoded(const OperatorInput& input, at::ScalarType dtype) {
  OperatorState state;
  return decoded(input, dtype, state, 0, input.q.size(2));
}

TEST(Decoding, IsTheDefinitionOnEveryInstructionSet) {
  kernels::on_every_target([] {
    for (const InputShape& shape :
         {InputShape{.length = 40}, InputShape{.length = 40, .gate = true},
          InputShape{.batch = 3, .heads = 5, .kv_heads = 1, .length = 20, .dim = 33, .features = 10, .gate = true},
          InputShape{.batch = 1, .heads = 9, .kv_heads = 1, .length = 20, .dim = 80, .features = 40},
          InputShape{.batch = 1, .heads = 9, .kv_heads = 3, .length = 20, .dim = 64, .features = 128, .gate = true},
          InputShape{.batch = 1, .heads = 2, .kv_heads = 1, .length = 20, .dim = 3, .features = 2},
          InputShape{.batch = 1, .heads = 4, .kv_heads = 1, .length = 20, .dim = 128, .features = 256}}) {
      const auto input = random_input(shape, 3);
      const auto expected = by_definition(input);
      for (const auto dtype : kStates) {
        SCOPED_TRACE(shape.describe() + " " + at::toString(dtype));
        expect_close(decoded(input, dtype), expected, dtype, shape.length, input.v);
      }
    }
  });
}

TEST(Decoding, TakesBf16Rows) {
  auto input = random_input({.length = 40, .gate = true}, 3);
  for (auto* x : {&input.q, &input.k, &input.v}) *x = x->to(at::kBFloat16);
  const auto expected = by_definition(input);
  for (const auto dtype : kStates) {
    const auto found = decoded(input, dtype).to(at::kFloat);
    const double bound = dtype == at::kFloat ? 0 : rounding_bound(dtype, 40, input.v);
    EXPECT_LE(root_mean_square(found - expected), bound + 4e-3 * root_mean_square(expected));
  }
}

// A row's first number is 10,000 times as large as what each of 4,096 steps adds to the others: an eightieth of int8's unit.
// bf16's unit is 16 at 4,096. Rounding to nearest would add nothing to int8, and would stop at 256 in bf16.
TEST(Decoding, SmallStepsAreNotLost) {
  constexpr std::int64_t kSteps = 4096, kDim = 16, kFeatures = 24;
  for (const auto dtype : {at::kBFloat16, at::kChar}) {
    OperatorInput input;
    input.q = at::zeros({1, 1, 1, kDim});
    input.k = input.q;
    input.phi_q = input.phi_k = at::ones({1, 1, 1, kFeatures});
    OperatorState state;
    for (std::int64_t step = 0; step <= kSteps; ++step) {
      input.v = step == 0 ? at::zeros({1, 1, 1, kDim}) : at::ones({1, 1, 1, kDim});
      input.v.select(3, 0).fill_(step == 0 ? 1e4 : 0);
      OperatorContinuation more;
      more.state = state;
      more.state_dtype = dtype;
      more.rounding_seed = step;
      more.absorb_end = 1;
      state = continue_operator(input, more).state;
    }
    auto s = state.s.to(at::kDouble);
    if (state.scale.defined()) s = s * state.scale.unsqueeze(-1);
    const auto small = s.slice(3, 1, kDim);
    // Variance of a number ≤ Σ (unit · 1) over the steps: at most 80 · 4,096, and 360 numbers are averaged.
    EXPECT_NEAR(small.mean().item<double>(), kSteps, 5 * std::sqrt(80.0 * kSteps / 360)) << at::toString(dtype);
    EXPECT_LE(root_mean_square(small - static_cast<double>(kSteps)), 1.5 * std::sqrt(80.0 * kSteps)) << at::toString(dtype);
    EXPECT_EQ(state.z.min().item<float>(), kSteps + 1);
  }
}

TEST(Decoding, IsTheSameForAnyNumberOfThreadsAndAnyNeighbours) {
  const auto input = random_input({.batch = 5, .length = 30, .dim = 20, .gate = true}, 3);
  const int before = at::get_num_threads();
  for (const auto dtype : kStates) {
    at::set_num_threads(1);
    const auto expected = decoded(input, dtype);
    for (const int threads : {2, 3}) {
      at::set_num_threads(threads);
      EXPECT_TRUE(at::equal(decoded(input, dtype), expected)) << threads << " threads, " << at::toString(dtype);
    }
    auto last = input;
    for (auto* x : {&last.q, &last.k, &last.v, &last.phi_q, &last.phi_k, &last.log_gate}) *x = x->slice(0, 4, 5);
    EXPECT_TRUE(at::equal(decoded(last, dtype), expected.slice(0, 4, 5))) << "alone, " << at::toString(dtype);
  }
  at::set_num_threads(before);
}

TEST(Decoding, BringsTheStateUpToDateInItsOwnMemory) {
  const auto input = random_input({.length = 3}, 3);
  for (const auto dtype : kStates) {
    OperatorState state;
    decoded(input, dtype, state, 0, 1);
    const OperatorState first = state;
    decoded(input, dtype, state, 1, 3);
    EXPECT_EQ(state.s.const_data_ptr(), first.s.const_data_ptr());
    EXPECT_EQ(state.z.const_data_ptr(), first.z.const_data_ptr());
    EXPECT_EQ(state.s.scalar_type(), dtype);
    EXPECT_EQ(state.scale.defined(), dtype == at::kChar);
  }
}

TEST(Decoding, StaysFiniteOnExtremeInputs) {
  kernels::on_every_target([] {
    for (const auto dtype : kStates) {
      for (const double size : {1e36, 1e30, 1e-30, 1e-38, 1e-42, 0.0}) {
        for (const double feature : {1.0, 1e-20, 1e-40, 0.0}) {
          for (const double log_gate : {0.0, -1e4, -20.0}) {
            auto input = random_input({.batch = 1, .length = 12, .dim = 35}, 5);
            input.v = input.v * size;
            input.v.select(3, 1).zero_();
            input.phi_k = input.phi_k * feature;
            input.phi_k.select(3, 0).zero_();  // a row of zeros
            input.log_gate = at::full({1, 2, 12}, log_gate);
            OperatorState state;
            const auto y = decoded(input, dtype, state, 0, 12);
            EXPECT_TRUE(at::isfinite(y).all().item<bool>()) << at::toString(dtype) << " " << size << " " << feature;
            EXPECT_TRUE(at::isfinite(state.s.to(at::kFloat)).all().item<bool>());
            EXPECT_TRUE(!state.scale.defined() || at::isfinite(state.scale).all().item<bool>());
          }
        }
      }
      if (dtype == at::kFloat) continue;
      // Sums beyond the largest number stay there.
      auto input = random_input({.batch = 1, .length = 12, .dim = 35}, 5);
      input.v = input.v.sign() * 3.3e38;
      OperatorState state;
      decoded(input, dtype, state, 0, 12);
      EXPECT_TRUE(at::isfinite(state.s.to(at::kFloat)).all().item<bool>());
      EXPECT_TRUE(!state.scale.defined() || at::isfinite(state.scale).all().item<bool>());
    }
  });
}

TEST(Decoding, TakesTheMapAsItTakesFeatures) {
  kernels::on_every_target([] {
    at::manual_seed(4);
    for (const char* name : {"hedgehog-softmax", "hedgehog-joint"}) {
      OperatorInput mapped;
      mapped.q = at::randn({37, 6, 1, 20});
      mapped.k = at::randn({37, 2, 1, 20});
      mapped.v = at::randn({37, 2, 1, 20});
      const auto map = feature_map_named(name);
      mapped.map = {*map.map->activation,   at::randn({6, 11, 20}), at::randn({6, 11}),
                    at::randn({2, 11, 20}), at::randn({2, 11}),     {}};
      OperatorInput given = mapped;
      given.map = {};
      given.phi_q = features_of(map, mapped.q, mapped.map.q_weight, mapped.map.q_bias).phi;
      given.phi_k = features_of(map, mapped.k, mapped.map.k_weight, mapped.map.k_bias).phi;
      OperatorContinuation more;
      more.absorb_end = 1;
      const auto found = continue_operator(mapped, more), expected = continue_operator(given, more);
      EXPECT_LE(relative_error(found.y, expected.y), 1e-5);
      EXPECT_LE(relative_error(found.state.s, expected.state.s), 1e-5);
      EXPECT_LE(relative_error(found.state.z, expected.state.z), 1e-5);
    }
  });
}

TEST(Decoding, RefusesAStateThatIsNone) {
  const auto input = random_input({.length = 1}, 3);
  OperatorContinuation more;
  more.absorb_end = 1;
  more.state_dtype = at::kHalf;
  EXPECT_THROW(continue_operator(input, more), Error);
  more.state_dtype = at::kFloat;
  more.state = continue_operator(input, more).state;
  more.state.s = more.state.s.to(at::kChar);
  EXPECT_THROW(continue_operator(input, more), Error) << "int8 without scales";
}

// Chunks and single tokens in any order continue the state, whatever it is kept in.
TEST(Decoding, AnySplitIsNearOneCall) {
  constexpr std::int64_t kHeads = 4, kKeyHeads = 2, kDim = 16, kHidden = 24, kLength = 90;
  std::vector<AttentionConfig> forms;
  for (const auto& map : {"hedgehog-softmax", "hedgehog-exp", "hedgehog-joint"}) {
    forms.push_back({.kind = AttentionKind::kLinear, .feature_map = map});
    forms.push_back({.kind = AttentionKind::kLinear, .feature_map = map, .gate = true});
    forms.push_back(
        {.kind = AttentionKind::kHybrid, .feature_map = map, .feature_dim = 10, .window = 5, .sinks = 3, .gate = true});
    forms.push_back({.kind = AttentionKind::kHybrid, .feature_map = map, .window = 0, .sinks = 2});
  }
  for (const auto& form : forms) {
    at::manual_seed(2);
    Attention attention(form, kHeads, kKeyHeads, kDim, kHidden);
    for (auto& [name, tensor] : attention.parameters()) tensor->add_(at::randn_like(*tensor) * 0.3);
    const AttentionInput input{at::randn({2, kHeads, kLength, kDim}),
                               at::randn({2, kKeyHeads, kLength, kDim}),
                               at::randn({2, kKeyHeads, kLength, kDim}),
                               at::randn({2, kLength, kHidden}),
                               {}};
    const auto expected = attention.forward(input);
    std::int64_t largest = 0;
    for (const auto dtype : kStates) {
      for (const std::vector<std::int64_t>& pieces : {std::vector<std::int64_t>{64, 26},
                                                      {2, 2, 70, 1, 15},
                                                      {1, 1, 80, 1, 1, 1, 1, 1, 1, 1, 1},
                                                      std::vector<std::int64_t>(90, 1)}) {
        SCOPED_TRACE(to_string(form.kind) + " " + form.feature_map + (form.gate ? " gate " : " ") + at::toString(dtype) + " " +
                     std::to_string(pieces.size()) + " pieces");
        AttentionState state;
        state.dtype = dtype;
        std::vector<at::Tensor> rows;
        std::int64_t begin = 0;
        for (const std::int64_t piece : pieces) {
          rows.push_back(attention.continue_from(state, {input.q.slice(2, begin, begin + piece),
                                                         input.k.slice(2, begin, begin + piece),
                                                         input.v.slice(2, begin, begin + piece),
                                                         input.x.slice(1, begin, begin + piece),
                                                         {}}));
          begin += piece;
        }
        expect_close(at::cat(rows, 2), expected, dtype, std::ssize(pieces), input.v);
        EXPECT_EQ(state.linear.s.scalar_type(), dtype);
        if (dtype == at::kFloat) largest = state.bytes();
        EXPECT_EQ(state.bytes() < largest, dtype != at::kFloat);
      }
    }
  }
}

}  // namespace
}  // namespace hedgehog

// Attention as a part of a model: the chunked and recurrent forms against one long call, distillation's gradient against finite
// differences.
#include "hedgehog/attention/attention.h"

#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/attention/feature_map.h"
#include "hedgehog/base/error.h"
#include "tests/attention/plain_features.h"
#include "tests/attention/random_input.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>

namespace hedgehog {

void PrintTo(const AttentionConfig& config, std::ostream* out) {
  *out << to_string(config.kind) << " " << config.feature_map << " M" << config.feature_dim << " w" << config.window << " s"
       << config.sinks << (config.gate ? " gate" : "");
}

namespace {

using testing::kDim;
using testing::kHeads;
using testing::kKeyHeads;
using testing::plain_features;
using testing::relative_error;

constexpr std::int64_t kHidden = 24;

Attention perturbed(const AttentionConfig& config, std::uint64_t seed) {
  at::manual_seed(seed);
  Attention attention(config, kHeads, kKeyHeads, kDim, kHidden);
  for (auto& [name, tensor] : attention.parameters()) tensor->add_(at::randn_like(*tensor) * 0.3);
  return attention;
}

AttentionInput random_rows(std::int64_t length, std::uint64_t seed, double size = 1) {
  at::manual_seed(seed);
  AttentionInput input;
  input.q = at::randn({2, kHeads, length, kDim}) * size;
  input.k = at::randn({2, kKeyHeads, length, kDim}) * size;
  input.v = at::randn({2, kKeyHeads, length, kDim});
  input.x = at::randn({2, length, kHidden});
  return input;
}

AttentionInput slice(const AttentionInput& input, std::int64_t begin, std::int64_t end) {
  return {input.q.slice(2, begin, end),
          input.k.slice(2, begin, end),
          input.v.slice(2, begin, end),
          input.x.slice(1, begin, end),
          {}};
}

// All but those that go below 0, whose sums may be as near to 0 as they like.
std::vector<std::string> stable_maps() {
  auto names = feature_map_names();
  for (const char* name : {"identity", "pair-gelu", "pair-silu"}) std::erase(names, name);
  return names;
}

std::vector<AttentionConfig> every_form() {
  std::vector<AttentionConfig> configs = {{}, {.window = 7}};
  for (const auto& map : stable_maps()) {
    const std::int64_t width = feature_map_named(map).map->weights == maps::Weights::kNone ? 0 : 10;
    configs.push_back({.kind = AttentionKind::kLinear, .feature_map = map});
    configs.push_back({.kind = AttentionKind::kLinear, .feature_map = map, .gate = true});
    configs.push_back(
        {.kind = AttentionKind::kHybrid, .feature_map = map, .feature_dim = width, .window = 5, .sinks = 3, .gate = true});
    configs.push_back({.kind = AttentionKind::kHybrid, .feature_map = map, .window = 1});
    configs.push_back({.kind = AttentionKind::kHybrid, .feature_map = map, .window = 0, .sinks = 2});
  }
  return configs;
}

class Continuation : public ::testing::TestWithParam<AttentionConfig> {};

TEST_P(Continuation, AnySplitEqualsOneCall) {
  const auto attention = perturbed(GetParam(), 2);
  const std::int64_t length = 90;
  const auto input = random_rows(length, 3);
  const auto expected = attention.forward(input);
  for (const std::vector<std::int64_t>& pieces : {std::vector<std::int64_t>{90},
                                                  {1, 1, 1, 1, 1, 1, 1, 83},
                                                  {2, 2, 70, 1, 15},
                                                  {64, 26},
                                                  std::vector<std::int64_t>(90, 1)}) {
    AttentionState state;
    std::vector<at::Tensor> rows;
    std::int64_t begin = 0;
    for (const std::int64_t piece : pieces) {
      rows.push_back(attention.continue_from(state, slice(input, begin, begin + piece)));
      begin += piece;
    }
    EXPECT_LE(relative_error(at::cat(rows, 2), expected), 2e-5) << pieces.size() << " pieces";
  }
}

TEST_P(Continuation, StateDoesNotGrow) {
  if (GetParam().kind == AttentionKind::kSoftmax && GetParam().window == 0) GTEST_SKIP() << "softmax keeps every key";
  const auto attention = perturbed(GetParam(), 2);
  AttentionState state;
  std::vector<std::int64_t> bytes;
  for (int piece = 0; piece < 4; ++piece) {
    attention.continue_from(state, random_rows(40, 4));
    bytes.push_back(state.bytes());
  }
  EXPECT_EQ(bytes[1], bytes[3]);
  EXPECT_GT(bytes[1], 0);
}

INSTANTIATE_TEST_SUITE_P(Forms, Continuation, ::testing::ValuesIn(every_form()),
                         [](const auto& info) { return "form" + std::to_string(info.index); });

TEST(Attention, ForwardIsTheUnshiftedFormula) {
  // The exp map's scales and running maximum must cancel: compare with φ = exp(±u) in fp64, nothing subtracted.
  for (const bool gate : {false, true}) {
    auto attention = perturbed({.kind = AttentionKind::kLinear, .feature_map = "hedgehog-exp", .gate = gate}, 5);
    const auto input = random_rows(80, 6);
    std::vector<at::Tensor> w;
    for (auto& [name, tensor] : attention.parameters()) w.push_back(tensor->to(at::kDouble));
    OperatorInput plain;
    plain.q = input.q;
    plain.k = input.k;
    plain.v = input.v;
    plain.phi_q = plain_features("hedgehog-exp", input.q.to(at::kDouble), w[0], w[1]);
    plain.phi_k = plain_features("hedgehog-exp", input.k.to(at::kDouble), w[2], w[3]);
    if (gate) {
      plain.log_gate = at::log_sigmoid(at::matmul(input.x.to(at::kDouble), w[4].t() / std::sqrt(double(kHidden))) + 10 * w[5])
                           .transpose(1, 2);
    }
    std::vector<std::int64_t> rows(80);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
    const auto expected = at::matmul(operator_weights(plain, rows).weights, input.v.to(at::kDouble).repeat_interleave(2, 1));
    EXPECT_LE(relative_error(attention.forward(input), expected), 1e-5);
  }
}

TEST(Attention, MapsInTheKernelGiveWhatFeaturesGive) {
  // operator_input() has φ as tensors, forward() leaves the maps to the kernel. Both are fp32. The gate's gradient sums
  // differences that cancel over all rows, hence its wider bound; the operator's own test holds it to fp64.
  auto forms = every_form();
  std::erase_if(forms, [](const AttentionConfig& form) {
    return form.kind != AttentionKind::kSoftmax && !feature_map_named(form.feature_map).map->activation;
  });
  for (const auto* name : {"hedgehog-softmax", "hedgehog-joint", "hedgehog-exp"}) {
    forms.push_back({.kind = AttentionKind::kLinear, .feature_map = name, .causal = false});
  }
#ifdef __SANITIZE_ADDRESS__
  const std::vector<std::int64_t> lengths = {1, 65, 200};  // the long one takes minutes
#else
  const std::vector<std::int64_t> lengths = {1, 17, 64, 65, 200, 1100};
#endif
  for (const auto& config : forms) {
    for (const std::int64_t length : lengths) {
      for (const bool packed : {false, true}) {
        SCOPED_TRACE(to_string(config.kind) + " " + config.feature_map + (config.causal ? " " : " bidirectional ") +
                     std::to_string(length) + (packed ? " packed" : ""));
        auto attention = perturbed(config, 5);
        auto input = random_rows(length, 6);
        if (packed) {
          const auto start = at::arange(length, at::kInt);
          input.segment_start = at::where(start.lt(70), at::where(start.lt(3), 0, 3), at::where(start.lt(600), 70, 600))
                                    .to(at::kInt)
                                    .expand({2, length});
        }
        std::vector<at::Tensor> leaves = {input.q, input.k, input.v};
        std::vector<std::string> names = {"q", "k", "v"};
        for (auto& [name, tensor] : attention.parameters()) {
          leaves.push_back(*tensor);
          names.push_back(name);
        }
        for (auto& leaf : leaves) leaf.requires_grad_(true);
        const auto direction = at::randn_like(input.q);
        const auto expected = attention_operator(attention.operator_input(input));
        torch::autograd::backward({expected}, {direction});
        std::vector<at::Tensor> wanted;
        double scale = 0;
        for (auto& leaf : leaves) {
          wanted.push_back(leaf.grad().defined() ? leaf.grad().clone() : at::zeros_like(leaf));
          scale = std::max(scale, wanted.back().abs().max().item<double>());
          leaf.mutable_grad() = at::Tensor();
        }
        const auto found = attention.forward(input);
        EXPECT_LE(relative_error(found.detach(), expected.detach()), 1e-5);
        torch::autograd::backward({found}, {direction});
        for (std::size_t n = 0; n < leaves.size(); ++n) {
          const auto gradient = leaves[n].grad().defined() ? leaves[n].grad() : at::zeros_like(leaves[n]);
          EXPECT_LE((gradient - wanted[n]).abs().max().item<double>(), (names[n].starts_with("gate") ? 1e-3 : 5e-5) * scale)
              << names[n];
        }
      }
    }
  }
}

TEST(Attention, IdentityDividesBySumsBelowZero) {
  Attention attention({.kind = AttentionKind::kLinear, .feature_map = "identity"}, kHeads, kKeyHeads, kDim, kHidden);
  auto input = random_rows(90, 6);
  input.k = input.k * 0.1 + 1;
  input.q = (input.q * 0.1 + 1) * at::where(at::arange(90).remainder(2).eq(0), 1.0, -1.0).to(at::kFloat).unsqueeze(-1);
  OperatorInput plain;
  plain.q = plain.phi_q = input.q;
  plain.k = plain.phi_k = input.k;
  plain.v = input.v;
  std::vector<std::int64_t> rows(90);
  std::iota(rows.begin(), rows.end(), 0);
  const auto weights = operator_weights(plain, rows).weights;
  EXPECT_NEAR(weights.sum(-1).min().item<double>(), 1, 1e-9);
  const auto expected = at::matmul(weights, input.v.to(at::kDouble).repeat_interleave(2, 1));
  EXPECT_LE(relative_error(attention.forward(input), expected), 1e-5);
  AttentionState state;
  std::vector<at::Tensor> pieces;
  for (std::int64_t begin = 0; begin < 90; begin += 45)
    pieces.push_back(attention.continue_from(state, slice(input, begin, begin + 45)));
  EXPECT_LE(relative_error(at::cat(pieces, 2), expected), 1e-5);
}

// Every map in the bidirectional form, with documents: each document by itself.
TEST(Attention, BidirectionalMapsKeepToTheirDocument) {
  for (const auto& name : stable_maps()) {
    const auto attention = perturbed({.kind = AttentionKind::kLinear, .feature_map = name, .causal = false}, 5);
    auto input = random_rows(90, 6);
    const auto first = attention.forward(slice(input, 0, 40)), second = attention.forward(slice(input, 40, 90));
    input.segment_start = at::where(at::arange(90, at::kInt).lt(40), 0, 40).to(at::kInt).expand({2, 90});
    EXPECT_LE(relative_error(attention.forward(input), at::cat({first, second}, 2)), 1e-5) << name;
    EXPECT_GT(relative_error(attention.forward(random_rows(90, 6)).slice(2, 40), second), 1e-3) << name;
  }
}

TEST(Attention, ADocumentsLargeKeysDoNotDrownAnothers) {
  // exp(u) of the first document's keys is beyond the second's by more than fp32 holds.
  for (const bool causal : {true, false}) {
    const AttentionConfig config{.kind = AttentionKind::kLinear, .feature_map = "hedgehog-exp", .causal = causal};
    const auto attention = perturbed(config, 5);
    auto input = random_rows(90, 6);
    input.k.slice(2, 0, 40).mul_(100);
    const auto alone = attention.forward(slice(input, 40, 90));
    input.segment_start = at::where(at::arange(90, at::kInt).lt(40), 0, 40).to(at::kInt).expand({2, 90});
    EXPECT_LE(relative_error(attention.forward(input).slice(2, 40, 90), alone), 1e-5) << causal;
  }
}

TEST(Attention, HybridsLinearPartIsScaledByTheQuery) {
  const auto input = random_rows(80, 6);
  auto attention = perturbed({.kind = AttentionKind::kHybrid, .window = 9, .sinks = 2}, 5);
  std::map<std::string, at::Tensor> w;
  for (auto& [name, tensor] : attention.parameters()) w[name] = tensor->to(at::kDouble);
  OperatorInput plain;
  plain.q = input.q;
  plain.k = input.k;
  plain.v = input.v;
  plain.window = 9;
  plain.sinks = 2;
  const at::Tensor q = input.q.to(at::kDouble);
  plain.phi_q = plain_features("hedgehog-softmax", q, w["q_map.weight"], w["q_map.bias"]);
  plain.phi_k = plain_features("hedgehog-softmax", input.k.to(at::kDouble), w["k_map.weight"], w["k_map.bias"]);
  plain.row_log_scale =
      at::einsum("bhnd,hd->bhn", {q, w["mix.weight"]}) / std::sqrt(double(q.size(3))) + w["mix.bias"].unsqueeze(-1);
  std::vector<std::int64_t> rows(80);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  const auto expected = at::matmul(operator_weights(plain, rows).weights, input.v.to(at::kDouble).repeat_interleave(2, 1));
  EXPECT_LE(relative_error(attention.forward(input), expected), 1e-5);
}

TEST(Attention, StaysFiniteOnLargeScores) {
  for (const auto& config : every_form()) {
    const auto attention = perturbed(config, 2);
    EXPECT_TRUE(at::isfinite(attention.forward(random_rows(70, 3, 1e3))).all().item<bool>()) << config.feature_map;
  }
}

// The parameters' gradients, which have none afterwards.
std::vector<at::Tensor> take_gradients(Attention& attention) {
  std::vector<at::Tensor> gradients;
  for (auto& [name, tensor] : attention.parameters()) {
    gradients.push_back(tensor->grad().clone());
    tensor->mutable_grad() = at::Tensor();
  }
  return gradients;
}

TEST(Attention, DistillationGradientIsTheSlopeOfItsLoss) {
  for (const AttentionConfig& config :
       {AttentionConfig{.kind = AttentionKind::kLinear},
        AttentionConfig{.kind = AttentionKind::kLinear, .feature_map = "hedgehog-exp", .gate = true},
        AttentionConfig{.kind = AttentionKind::kHybrid, .feature_map = "hedgehog-joint", .window = 8, .sinks = 2, .gate = true},
        AttentionConfig{.kind = AttentionKind::kHybrid, .feature_map = "hedgehog-exp", .window = 8}}) {
    for (const auto& [weights, outputs] : {std::pair{1.0, 0.0}, {0.0, 1.0}, {0.5, 2.0}}) {
      auto attention = perturbed(config, 8);
      const auto input = random_rows(70, 9);
      for (auto& [name, tensor] : attention.parameters()) tensor->requires_grad_(true);
      attention.distill(input, weights, outputs, 1.0);
      for (auto& [name, tensor] : attention.parameters()) {
        ASSERT_TRUE(tensor->grad().defined()) << name;
        const auto direction = at::randn_like(*tensor);
        const auto slope = (tensor->grad() * direction).sum().item<double>();
        const auto loss_at = [&](double step) {
          const at::NoGradGuard guard;
          tensor->add_(direction, step);
          const auto loss = attention.distill(input, weights, outputs, 0.0);
          tensor->add_(direction, -step);
          return weights * loss.cross_entropy + outputs * loss.output_error;
        };
        const double step = 2e-3, measured = (loss_at(step) - loss_at(-step)) / (2 * step);
        EXPECT_NEAR(slope, measured, 0.03 * std::max(0.02, std::abs(measured))) << name << " of " << config.feature_map;
      }
    }
  }
}

// Each row in one part: the parts' gradients, weighed by their rows, are the whole's. Of the outputs' loss the norm that it is
// divided by differs from part to part.
TEST(Attention, DistillationOfPartsOfTheRowsAddsUp) {
  for (const AttentionConfig& config :
       {AttentionConfig{.kind = AttentionKind::kLinear}, AttentionConfig{.kind = AttentionKind::kLinear, .feature_map = "t2r"},
        AttentionConfig{.kind = AttentionKind::kLinear, .causal = false},
        AttentionConfig{.kind = AttentionKind::kLinear, .feature_map = "hedgehog-exp", .gate = true},
        AttentionConfig{
            .kind = AttentionKind::kHybrid, .feature_map = "hedgehog-exp", .window = 8, .sinks = 2, .gate = true}}) {
    auto attention = perturbed(config, 8);
    auto input = random_rows(70, 9);
    if (!config.causal) input.key_count = at::tensor({57, 70}, at::kInt).slice(0, 2 - input.q.size(0));
    for (auto& [name, tensor] : attention.parameters()) tensor->requires_grad_(true);
    const auto whole = attention.distill(input, 1, 0, 1);
    const std::vector<at::Tensor> expected = take_gradients(attention);
    const auto seen = [&](const QueryRows& rows) {  // of all sequences, without padding
      if (!input.key_count.defined()) return static_cast<double>(rows.count(70) * input.q.size(0));
      double sum = 0;
      for (std::int64_t b = 0; b < input.q.size(0); ++b) {
        sum += static_cast<double>(rows.count(input.key_count[b].item<std::int64_t>()));
      }
      return sum;
    };
    double cross_entropy = 0, kl = 0;
    for (std::int64_t part = 0; part < 4; ++part) {
      const QueryRows rows{.first = part, .step = 4};
      const double share = seen(rows) / seen({});
      const auto loss = attention.distill(input, 1, 0, share, 0, rows);
      cross_entropy += share * loss.cross_entropy;
      kl += share * loss.kl;
    }
    EXPECT_NEAR(cross_entropy, whole.cross_entropy, 1e-5) << config.feature_map;
    EXPECT_NEAR(kl, whole.kl, 1e-5);
    for (std::size_t n = 0; n < expected.size(); ++n) {
      EXPECT_LE(relative_error(attention.parameters()[n].second->grad(), expected[n]), 1e-4) << config.feature_map << " " << n;
    }
    const auto some = attention.distill(input, 0, 1, 0, 0, {.first = 3, .step = 9});
    EXPECT_GT(some.output_error, 0);
    EXPECT_NE(some.output_error, attention.distill(input, 0, 1, 0).output_error);
  }
}

// T2R is not in the kernels, and its slopes have corners: against autograd of the definition.
TEST(Attention, DistillationReachesMapsThatAreGivenAsFeatures) {
  for (const bool causal : {true, false}) {
    auto attention = perturbed({.kind = AttentionKind::kLinear, .feature_map = "t2r", .feature_dim = 40, .causal = causal}, 8);
    const auto input = random_rows(70, 9);
    for (auto& [name, tensor] : attention.parameters()) tensor->requires_grad_(true);
    const auto loss = attention.distill(input, 1, 0, 1);
    const std::vector<at::Tensor> found = take_gradients(attention);
    std::vector<std::int64_t> rows(70);
    std::iota(rows.begin(), rows.end(), 0);
    const Attention softmax({.causal = causal}, kHeads, kKeyHeads, kDim, kHidden);
    const auto p = operator_weights(softmax.operator_input(input), rows).weights;
    const auto a = operator_weights(attention.operator_input(input), rows).weights;
    const auto expected = -(p * a.clamp_min(1e-12).log()).sum(-1).mean();
    EXPECT_NEAR(loss.cross_entropy, expected.item<double>(), 1e-4);
    torch::autograd::backward({expected}, {});
    for (std::size_t n = 0; n < found.size(); ++n) {
      EXPECT_LE(relative_error(found[n], attention.parameters()[n].second->grad()), 1e-3) << causal << " " << n;
    }
  }
}

TEST(Attention, ControlsLeaveOutWhatTheySay) {
  const auto hybrid = perturbed({.kind = AttentionKind::kHybrid, .window = 8, .sinks = 2}, 2);
  const auto input = random_rows(60, 3);
  const Attention window_only({.window = 8}, kHeads, kKeyHeads, kDim, kHidden);
  const auto linear_removed = hybrid.forward(input, AttentionControl::kLinearRemoved);
  // Row 8 of a window of 8 with two sinks sees keys 0..8 but no linear part: softmax over all of its keys.
  const Attention softmax({}, kHeads, kKeyHeads, kDim, kHidden);
  EXPECT_LE(relative_error(linear_removed.slice(2, 0, 9), softmax.forward(input).slice(2, 0, 9)), 1e-5);
  EXPECT_EQ(hybrid.forward(input, AttentionControl::kNoAttention).abs().max().item<float>(), 0);
  EXPECT_GT((hybrid.forward(input, AttentionControl::kWindowRemoved) - hybrid.forward(input)).abs().max().item<float>(), 1e-3);
  // Sinks without a window: what is left without the linear part are the first two keys, and not all keys.
  const auto sinks = perturbed({.kind = AttentionKind::kHybrid, .sinks = 2}, 2);
  AttentionInput first = input;
  first.k = input.k.slice(2, 0, 2);
  first.v = input.v.slice(2, 0, 2);
  const auto scores = at::matmul(input.q, to_query_heads(first.k, kHeads).transpose(-1, -2)) / std::sqrt(double{kDim});
  const auto expected = at::matmul(scores.softmax(-1), to_query_heads(first.v, kHeads));
  EXPECT_LE(relative_error(sinks.forward(input, AttentionControl::kLinearRemoved).slice(2, 2), expected.slice(2, 2)), 1e-5);
  EXPECT_EQ(softmax.forward(input, AttentionControl::kNoAttention).abs().max().item<float>(), 0) << "layers that keep softmax";
}

TEST(Attention, DistillationImitatesTheBaseModelsWindow) {
  auto linear = perturbed({.kind = AttentionKind::kLinear}, 2);
  const auto input = random_rows(60, 3);
  const Attention windowed({.window = 8}, kHeads, kKeyHeads, kDim, kHidden);
  const auto wanted = windowed.forward(input), found = linear.forward(input);
  const double error = ((found - wanted).square().sum() / wanted.square().sum()).item<double>();
  EXPECT_NEAR(linear.distill(input, 0, 1, 0, 8).output_error, error, 1e-5 * error);
  EXPECT_GT(linear.distill(input, 1, 0, 0, 8).kl, linear.distill(input, 1, 0, 0).kl + 1e-3);
}

TEST(Attention, SenselessConfigurationsAreErrors) {
  EXPECT_THROW(Attention({.kind = AttentionKind::kLinear, .window = 4}, 4, 2, 16, 24), Error);
  EXPECT_THROW(Attention({.kind = AttentionKind::kHybrid}, 4, 2, 16, 24), Error);
  EXPECT_THROW(Attention({.kind = AttentionKind::kLinear, .feature_map = "x"}, 4, 2, 16, 24), Error);
  EXPECT_THROW(Attention({.kind = AttentionKind::kLinear, .feature_map = "elu", .feature_dim = 8}, 4, 2, 16, 24), Error);
  EXPECT_THROW(attention_kind("sparse"), Error);
}

}  // namespace
}  // namespace hedgehog

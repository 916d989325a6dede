#include "hedgehog/attention/feature_map.h"

#include "hedgehog/attention/parallel.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"
#include "hedgehog/kernels/feature_map.h"

#include <ATen/ATen.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace hedgehog {
namespace {

using kernels::Activation;
using maps::Weights;

std::int64_t once(std::int64_t rows) {
  return rows;
}
std::int64_t twice(std::int64_t rows) {
  return 2 * rows;
}
std::int64_t of_second_order(std::int64_t rows) {
  return 1 + rows + rows * (rows + 1) / 2;
}

constexpr std::array kMaps = {
    maps::Map{"hedgehog-softmax", Weights::kLearned, twice, maps::split_softmax, Activation::kSplitSoftmax},
    maps::Map{"hedgehog-exp", Weights::kLearned, twice, maps::exp_pair, Activation::kExp, /*log_scaled=*/true},
    maps::Map{"hedgehog-joint", Weights::kLearned, twice, maps::joint_softmax, Activation::kJointSoftmax},
    maps::Map{"t2r", Weights::kLearned, once, maps::relu},
    maps::Map{"pair-relu", Weights::kLearned, twice, maps::relu_pair},
    maps::Map{"pair-relu2", Weights::kLearned, twice, maps::squared_relu_pair},
    maps::Map{"pair-gelu", Weights::kLearned, twice, maps::gelu_pair},
    maps::Map{"pair-silu", Weights::kLearned, twice, maps::silu_pair},
    maps::Map{"pair-softplus", Weights::kLearned, twice, maps::softplus_pair},
    maps::Map{"pair-sigmoid", Weights::kLearned, twice, maps::sigmoid_pair},
    maps::Map{"pair-elu", Weights::kLearned, twice, maps::one_plus_elu_pair},
    maps::Map{"cosh", Weights::kLearned, once, maps::cosh, {}, /*log_scaled=*/true},
    maps::Map{"elu", Weights::kNone, once, maps::one_plus_elu},
    maps::Map{"relu", Weights::kNone, once, maps::relu},
    maps::Map{"identity", Weights::kNone, once, maps::identity},
    maps::Map{.name = "exp",
              .weights = Weights::kNone,
              .features = once,
              .apply = maps::exponential,
              .log_scaled = true,
              .number = 1},
    maps::Map{.name = "performer",
              .weights = Weights::kFixed,
              .features = once,
              .apply = maps::positive_random,
              .log_scaled = true,
              .weight = maps::orthogonal_rows},
    maps::Map{.name = "cosformer",
              .weights = Weights::kNone,
              .features = twice,
              .apply = maps::cosine_reweighted,
              .positions = true,
              .number = 1024},
    maps::Map{.name = "taylor",
              .weights = Weights::kNone,
              .features = of_second_order,
              .apply = maps::second_order,
              .of_score = maps::second_order_of_score},
};

// The number that follows `prefix` and a hyphen in `name`; 0: there is none that is above 0 and finite.
double number_after(const std::string& name, const std::string& prefix) {
  if (name.size() <= prefix.size() + 1 || name.compare(0, prefix.size(), prefix) != 0 || name[prefix.size()] != '-') return 0;
  double number = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + prefix.size() + 1, end, number);
  return error == std::errc() && stop == end && std::isfinite(number) && number > 0 ? number : 0;
}

// [heads, rows, dim]: the identity, then, for a feature dimension above D, rotations of it: rows of zeros would be alike and
// stay alike. All heads get the same, so that φ(q)·φ(k) grows with q·k.
at::Tensor identity_rows(std::int64_t heads, std::int64_t rows, std::int64_t dim) {
  std::vector<at::Tensor> blocks{at::eye(std::min(rows, dim), dim)};
  Random random{static_cast<std::uint64_t>(dim), 0};
  for (std::int64_t row = dim; row < rows; row += dim) {
    const auto noise = at::empty({dim, dim}, at::kDouble);
    for (std::int64_t i = 0; i < dim * dim; ++i) noise.mutable_data_ptr<double>()[i] = random.uniform() + random.uniform() - 1;
    blocks.push_back(std::get<0>(at::linalg_qr(noise)).narrow(0, 0, std::min(dim, rows - row)).to(at::kFloat));
  }
  return at::cat(blocks).unsqueeze(0).repeat({heads, 1, 1});
}

}  // namespace

std::vector<std::string> feature_map_names() {
  std::vector<std::string> names;
  for (const auto& map : kMaps) names.push_back(map.number > 0 ? fmt::format("{}-{}", map.name, map.number) : map.name);
  return names;
}

FeatureMap feature_map_named(const std::string& name) {
  for (const auto& map : kMaps) {
    if (map.name == name) return {&map, map.number};
    if (map.number == 0) continue;
    if (const double number = number_after(name, map.name); number > 0) return {&map, number};
  }
  fail("feature map \"{}\" is not known; there are: {}", name, fmt::join(feature_map_names(), ", "));
}

MapWeights initial_weights(const FeatureMap& map, std::int64_t heads, std::int64_t rows, std::int64_t dim) {
  if (map.map->weights == Weights::kNone) {
    check(rows == dim, "feature map \"{}\" has no weights, so its feature dimension is the head's, {}, not {}", map.map->name,
          dim, rows);
    return {};
  }
  return {map.learns() ? identity_rows(heads, rows, dim) : map.map->weight(heads, rows, dim), at::zeros({heads, rows})};
}

Features features_of(const FeatureMap& map, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     const at::Tensor& positions) {
  maps::MapRows rows;
  rows.x = x.to(at::kFloat);
  rows.u = weight.defined() ? at::matmul(rows.x, weight.transpose(-1, -2)) + bias.unsqueeze(-2) : rows.x;
  if (map.map->positions) rows.positions = positions.to(at::kFloat).unsqueeze(1).unsqueeze(-1);
  rows.number = map.number;
  return map.map->apply(rows);
}

at::Tensor key_log_scales(const at::Tensor& k, const at::Tensor& weight, const at::Tensor& bias) {
  const bool bf16 = k.scalar_type() == at::kBFloat16;
  const auto keys = (bf16 ? k : k.to(at::kFloat)).detach(), rows = keys.stride(-1) == 1 ? keys : keys.contiguous();
  const auto w = weight.detach().contiguous(), b = bias.detach().contiguous();
  kernels::AttentionShape shape;
  shape.batch = k.size(0);
  shape.kv_heads = k.size(1);
  shape.length = k.size(2);
  shape.dim = k.size(3);
  auto scales = at::empty({shape.batch, shape.kv_heads, shape.length}, w.options());
  kernels::key_log_scales(shape,
                          {rows.const_data_ptr(), bf16 ? kernels::Element::kBfloat16 : kernels::Element::kFloat32,
                           rows.stride(0), rows.stride(1), rows.stride(2)},
                          w.size(1), w.const_data_ptr<float>(), b.const_data_ptr<float>(), scales.mutable_data_ptr<float>(),
                          torch_threads());
  return scales;
}

}  // namespace hedgehog

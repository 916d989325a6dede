#include "hedgehog/analysis/altered_maps.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <array>
#include <charconv>
#include <cmath>
#include <numeric>
#include <string_view>
#include <vector>

namespace hedgehog {
namespace {

struct Part {
  std::string_view name;
  double MapAlteration::*value;
  bool share;
};
constexpr std::array kParts = {
    Part{"temperature", &MapAlteration::temperature, false},
    Part{"permuted", &MapAlteration::permuted, true},
    Part{"noise", &MapAlteration::noise, false},
};

// A map's rows 0 to M in an order in which `share` of them have changed places with each other.
at::Tensor partly_permuted(std::int64_t rows, double share, Random& random) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(rows));
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::int64_t> order = all;
  shuffle(all, random);
  const auto moved = static_cast<std::size_t>(std::llround(share * static_cast<double>(rows)));
  // A cycle through the chosen ones: none of them stays where it was.
  for (std::size_t i = 0; i < moved; ++i) order[static_cast<std::size_t>(all[i])] = all[(i + 1) % moved];
  return at::tensor(order, at::kLong);
}

// Every head's rows in an order of their own.
void permute(const MapWeights& map, double share, Random& random) {
  for (std::int64_t head = 0; head < map.weight.size(0); ++head) {
    const at::Tensor order = partly_permuted(map.weight.size(1), share, random);
    map.weight[head].copy_(map.weight[head].index_select(0, order));
    map.bias[head].copy_(map.bias[head].index_select(0, order));
  }
}

}  // namespace

MapAlteration map_alteration(const std::string& text) {
  MapAlteration alteration;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(item.size() + 1, rest.size()));
    const std::string_view name = item.substr(0, item.find('='));
    const std::string_view number = item.substr(std::min(name.size() + 1, item.size()));
    double value = -1;
    const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    bool known = false;
    for (const Part& part : kParts) {
      if (part.name != name) continue;
      known = error == std::errc() && stop == number.data() + number.size() && std::isfinite(value) && value >= 0 &&
              (!part.share || value <= 1);
      alteration.*part.value = value;
    }
    check(known, "\"{}\": expected temperature=X, permuted=SHARE or noise=X, joined by commas", item);
  }
  return alteration;
}

void alter_maps(Attention& attention, const MapAlteration& alteration, std::uint64_t seed) {
  if (attention.config().kind == AttentionKind::kSoftmax) return;
  check(attention.learns_map(), "feature map \"{}\" learns no weights: there is nothing to alter",
        attention.config().feature_map);
  const at::NoGradGuard no_gradients;
  Random random{seed, 0};
  auto generator = at::detail::createCPUGenerator(seed);
  if (alteration.permuted > 0) permute(attention.key_map(), alteration.permuted, random);
  for (const MapWeights& map : {attention.query_map(), attention.key_map()}) {
    if (alteration.noise > 0) {
      const at::Tensor size = map.weight.square().mean({1, 2}, /*keepdim=*/true).sqrt();
      map.weight.add_(at::empty(map.weight.sizes(), at::kFloat).normal_(0, alteration.noise, generator) * size);
    }
    map.weight.mul_(alteration.temperature);
    map.bias.mul_(alteration.temperature);
  }
}

}  // namespace hedgehog

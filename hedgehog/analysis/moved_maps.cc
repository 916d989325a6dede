#include "hedgehog/analysis/moved_maps.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

namespace hedgehog {
namespace {

constexpr std::array kStatistics = {&HeadFidelity::entropy_softmax, &HeadFidelity::mass_16_softmax,
                                    &HeadFidelity::mass_64_softmax};
using Statistics = std::array<double, kStatistics.size()>;

struct LayerMaps {
  MapWeights q, k;
  std::int64_t key_heads() const { return k.weight.size(0); }
  std::int64_t group() const { return q.weight.size(0) / k.weight.size(0); }
};

LayerMaps maps_at(const std::vector<Attention*>& model, std::int64_t layer) {
  const Attention& attention = *model[static_cast<std::size_t>(layer)];
  return {attention.query_map(), attention.key_map()};
}

std::vector<std::int64_t> mapped_layers(const std::vector<Attention*>& model) {
  std::vector<std::int64_t> layers;
  for (std::size_t layer = 0; layer < model.size(); ++layer) {
    if (model[layer]->learns_map()) layers.push_back(static_cast<std::int64_t>(layer));
  }
  return layers;
}

// The one of `count` places that lies where place `index` of `all` does.
std::int64_t same_place(std::int64_t index, std::int64_t all, std::int64_t count) {
  return (2 * index + 1) * count / (2 * all);
}

// Means over each key/value head's query heads.
std::vector<Statistics> statistics_of(const std::vector<Attention*>& model, const std::vector<HeadFidelity>& heads) {
  std::vector<Statistics> result;
  for (const KeyHead& place : mapped_heads(model)) {
    const std::int64_t group = maps_at(model, place.layer).group();
    Statistics sums = {};
    std::int64_t found = 0;
    for (const HeadFidelity& head : heads) {
      if (head.layer != place.layer || head.head / group != place.head) continue;
      for (std::size_t s = 0; s < sums.size(); ++s) sums[s] += head.*kStatistics[s];
      ++found;
    }
    check(found == group, "the statistics of layer {}, key/value head {}: found {} query heads, not {}", place.layer,
          place.head, found, group);
    for (double& sum : sums) sum /= static_cast<double>(group);
    result.push_back(sums);
  }
  return result;
}

// Standard deviations over all of both; 1 for a statistic that does not vary.
Statistics deviations(const std::vector<Statistics>& a, const std::vector<Statistics>& b) {
  Statistics result = {};
  const double count = static_cast<double>(a.size() + b.size());
  for (std::size_t s = 0; s < result.size(); ++s) {
    double sum = 0, squares = 0;
    for (const auto* all : {&a, &b}) {
      for (const Statistics& one : *all) sum += one[s];
    }
    for (const auto* all : {&a, &b}) {
      for (const Statistics& one : *all) squares += std::pow(one[s] - sum / count, 2);
    }
    result[s] = squares > 0 ? std::sqrt(squares / count) : 1;
  }
  return result;
}

}  // namespace

std::vector<KeyHead> mapped_heads(const std::vector<Attention*>& model) {
  std::vector<KeyHead> heads;
  for (const std::int64_t layer : mapped_layers(model)) {
    for (std::int64_t head = 0; head < maps_at(model, layer).key_heads(); ++head) heads.push_back({layer, head});
  }
  return heads;
}

std::vector<KeyHead> matched_by_depth(const std::vector<Attention*>& from, const std::vector<Attention*>& to) {
  const std::vector<std::int64_t> layers = mapped_layers(from);
  check(!layers.empty(), "the model that maps are to be taken from has none that learned weights");
  std::vector<KeyHead> sources;
  for (const KeyHead& place : mapped_heads(to)) {
    const std::int64_t at = same_place(place.layer, std::ssize(to), std::ssize(layers));
    const std::int64_t layer = layers[static_cast<std::size_t>(at)];
    sources.push_back({layer, same_place(place.head, maps_at(to, place.layer).key_heads(), maps_at(from, layer).key_heads())});
  }
  return sources;
}

std::vector<KeyHead> matched_by_statistics(const std::vector<Attention*>& from, const std::vector<HeadFidelity>& from_heads,
                                           const std::vector<Attention*>& to, const std::vector<HeadFidelity>& to_heads) {
  const std::vector<KeyHead> places = mapped_heads(from);
  check(!places.empty(), "the model that maps are to be taken from has none that learned weights");
  const std::vector<Statistics> offered = statistics_of(from, from_heads), wanted = statistics_of(to, to_heads);
  const Statistics deviation = deviations(offered, wanted);
  std::vector<KeyHead> sources;
  for (const Statistics& own : wanted) {
    std::size_t nearest = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < offered.size(); ++i) {
      double distance = 0;
      for (std::size_t s = 0; s < own.size(); ++s) distance += std::pow((own[s] - offered[i][s]) / deviation[s], 2);
      if (distance < least) least = distance, nearest = i;
    }
    sources.push_back(places[nearest]);
  }
  return sources;
}

void move_maps(const std::vector<Attention*>& from, const std::vector<Attention*>& to, const std::vector<KeyHead>& sources) {
  const std::vector<KeyHead> places = mapped_heads(to);
  check(sources.size() == places.size(), "{} maps for {} key/value heads", sources.size(), places.size());
  const at::NoGradGuard no_gradients;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::string& map = from[static_cast<std::size_t>(sources[i].layer)]->config().feature_map;
    const std::string& wanted = to[static_cast<std::size_t>(places[i].layer)]->config().feature_map;
    check(map == wanted, "the maps to be taken are \"{}\", those of the model \"{}\"", map, wanted);
    const LayerMaps source = maps_at(from, sources[i].layer), target = maps_at(to, places[i].layer);
    check(source.k.weight.sizes().slice(1) == target.k.weight.sizes().slice(1),
          "the maps to be taken have {} rows of head dimension {}, those of the model {} of {}", source.k.weight.size(1),
          source.k.weight.size(2), target.k.weight.size(1), target.k.weight.size(2));
    const std::int64_t head = places[i].head, group = target.group();
    target.k.weight[head].copy_(source.k.weight[sources[i].head]);
    target.k.bias[head].copy_(source.k.bias[sources[i].head]);
    for (std::int64_t query = 0; query < group; ++query) {
      const std::int64_t taken = sources[i].head * source.group() + same_place(query, group, source.group());
      target.q.weight[head * group + query].copy_(source.q.weight[taken]);
      target.q.bias[head * group + query].copy_(source.q.bias[taken]);
    }
  }
}

}  // namespace hedgehog

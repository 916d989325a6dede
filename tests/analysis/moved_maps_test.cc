#include "hedgehog/analysis/moved_maps.h"

#include "hedgehog/base/error.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

namespace hedgehog {
namespace {

using testing::error_of;

/// Layers whose maps say where they are: every weight of query head h in layer l is 100 l + h, every bias that + ½, and of
/// key/value heads the negative.
struct Numbered {
  std::vector<std::unique_ptr<Attention>> layers;
  std::vector<Attention*> pointers;

  Numbered(std::int64_t count, std::int64_t heads, std::int64_t key_heads, std::int64_t dim = 4,
           const std::string& map = "hedgehog-softmax") {
    for (std::int64_t layer = 0; layer < count; ++layer) {
      const AttentionConfig config{.kind = AttentionKind::kLinear, .feature_map = map};
      add(std::make_unique<Attention>(config, heads, key_heads, dim, /*hidden=*/8), 100.0 * static_cast<double>(layer));
    }
  }

  void add(std::unique_ptr<Attention> attention, double first) {
    for (const auto& [name, tensor] : attention->parameters()) {
      for (std::int64_t head = 0; head < tensor->size(0); ++head) {
        const double place = first + static_cast<double>(head) + (name.ends_with("bias") ? 0.5 : 0);
        (*tensor)[head].fill_(name.starts_with("k_") ? -place : place);
      }
    }
    layers.push_back(std::move(attention));
    pointers.push_back(layers.back().get());
  }

  double first_of(std::size_t layer, std::size_t parameter, std::int64_t head) {
    return layers[layer]->parameters()[parameter].second->select(0, head).flatten()[0].item<double>();
  }
};

HeadFidelity head_at(std::int64_t layer, std::int64_t head, double entropy, double mass_16, double mass_64) {
  HeadFidelity fidelity;
  fidelity.layer = layer;
  fidelity.head = head;
  fidelity.entropy_softmax = entropy;
  fidelity.mass_16_softmax = mass_16;
  fidelity.mass_64_softmax = mass_64;
  return fidelity;
}

TEST(MovedMaps, ByDepthLayersAndHeadsKeepTheirPlace) {
  Numbered from(6, 12, 12), to(3, 4, 2);
  const std::vector<KeyHead> expected = {{1, 3}, {1, 9}, {3, 3}, {3, 9}, {5, 3}, {5, 9}};
  EXPECT_EQ(matched_by_depth(from.pointers, to.pointers), expected);
  const std::vector<KeyHead> spread = {{0, 0}, {0, 1}, {0, 0}, {0, 1}, {1, 0}, {1, 1}, {1, 0}, {1, 1}};
  Numbered few(2, 2, 2), many(4, 2, 2);
  EXPECT_EQ(matched_by_depth(few.pointers, many.pointers), spread);
}

TEST(MovedMaps, QueriesGoWithTheirKeysAndSoftmaxLayersAreLeftOut) {
  Numbered from(2, 6, 2), to(0, 0, 0);
  to.add(std::make_unique<Attention>(AttentionConfig{}, 4, 2, 4, 8), 0);
  to.add(std::make_unique<Attention>(AttentionConfig{.kind = AttentionKind::kLinear}, 4, 2, 4, 8), 0);
  const std::vector<KeyHead> places = {{1, 0}, {1, 1}};
  EXPECT_EQ(mapped_heads(to.pointers), places);
  move_maps(from.pointers, to.pointers, {{0, 1}, {1, 0}});
  // Key/value head 0 has query heads 0 and 1; its source's are 3, 4 and 5 of layer 0, of which two are taken.
  EXPECT_EQ(to.first_of(1, 2, 0), -1);
  EXPECT_EQ(to.first_of(1, 3, 0), -1.5);
  EXPECT_EQ(to.first_of(1, 0, 0), 3);
  EXPECT_EQ(to.first_of(1, 0, 1), 5);
  EXPECT_EQ(to.first_of(1, 1, 1), 5.5);
  EXPECT_EQ(to.first_of(1, 2, 1), -100);
  EXPECT_EQ(to.first_of(1, 0, 2), 100);
  EXPECT_EQ(to.first_of(1, 0, 3), 102);
}

TEST(MovedMaps, ByStatisticsEachGetsTheNearest) {
  Numbered from(1, 4, 2), to(2, 2, 2);
  // Two query heads a group; their means are (1, 0.8, 0.9) and (4, 0.2, 0.5).
  const std::vector<HeadFidelity> offered = {head_at(0, 0, 0.5, 0.9, 1.0), head_at(0, 1, 1.5, 0.7, 0.8),
                                             head_at(0, 2, 4, 0.1, 0.5), head_at(0, 3, 4, 0.3, 0.5)};
  const std::vector<HeadFidelity> wanted = {head_at(0, 0, 3.9, 0.3, 0.4), head_at(0, 1, 1.2, 0.8, 0.8),
                                            head_at(1, 0, 0.2, 1.0, 1.0), head_at(1, 1, 5.0, 0.1, 0.2)};
  const std::vector<KeyHead> expected = {{0, 1}, {0, 0}, {0, 0}, {0, 1}};
  EXPECT_EQ(matched_by_statistics(from.pointers, offered, to.pointers, wanted), expected);
  EXPECT_EQ(error_of([&] { matched_by_statistics(from.pointers, {offered[0]}, to.pointers, wanted); }),
            "the statistics of layer 0, key/value head 0: found 1 query heads, not 2");
}

TEST(MovedMaps, WhatDoesNotFitIsRefused) {
  Numbered from(1, 2, 2), t2r(1, 2, 2, 4, "t2r"), wide(1, 2, 2, 8), elu(1, 2, 2, 4, "elu");
  const std::vector<KeyHead> sources = {{0, 0}, {0, 1}};
  EXPECT_EQ(error_of([&] { move_maps(t2r.pointers, from.pointers, sources); }),
            "the maps to be taken are \"t2r\", those of the model \"hedgehog-softmax\"");
  EXPECT_EQ(error_of([&] { move_maps(wide.pointers, from.pointers, sources); }),
            "the maps to be taken have 8 rows of head dimension 8, those of the model 4 of 4");
  EXPECT_TRUE(mapped_heads(elu.pointers).empty());
  EXPECT_EQ(error_of([&] { matched_by_depth(elu.pointers, from.pointers); }),
            "the model that maps are to be taken from has none that learned weights");
}

}  // namespace
}  // namespace hedgehog

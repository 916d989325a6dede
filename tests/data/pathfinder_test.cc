#include "hedgehog/data/pathfinder.h"

#include "hedgehog/base/sha256.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace hedgehog {
namespace {

struct Position {
  double x, y;
};

Position pixels(Point point) {
  return {static_cast<double>(point.x) / kPixel, static_cast<double>(point.y) / kPixel};
}

double distance(Position a, Position b) {
  return std::hypot(a.x - b.x, a.y - b.y);
}

double distance_to_dash(Position point, const Dash& dash) {
  const Position a = pixels(dash.from), b = pixels(dash.to);
  const double squared = (b.x - a.x) * (b.x - a.x) + (b.y - a.y) * (b.y - a.y);
  const double along =
      squared > 0 ? std::clamp(((point.x - a.x) * (b.x - a.x) + (point.y - a.y) * (b.y - a.y)) / squared, 0.0, 1.0) : 0.0;
  return distance(point, {a.x + along * (b.x - a.x), a.y + along * (b.y - a.y)});
}

/// By walking along one and asking for the other.
double distance_of_dashes(const Dash& a, const Dash& b) {
  double nearest = 1e9;
  constexpr int kSteps = 200;
  const Position from = pixels(a.from), to = pixels(a.to);
  for (int i = 0; i <= kSteps; ++i) {
    const double share = static_cast<double>(i) / kSteps;
    nearest = std::min(nearest, distance_to_dash({from.x + share * (to.x - from.x), from.y + share * (to.y - from.y)}, b));
  }
  return nearest;
}

/// The label of a scene from its dashes alone, whichever path they are listed under: those that the gap of a path lies between
/// are joined, and the dots are asked for the group of the dash that they lie on.
bool same_path(const PathfinderScene& scene, double widest_gap) {
  std::vector<Dash> dashes;
  for (const auto& path : scene.paths) dashes.insert(dashes.end(), path.rbegin(), path.rend());
  std::vector<std::size_t> group(dashes.size());
  std::iota(group.begin(), group.end(), std::size_t{0});
  for (std::size_t i = 0; i < dashes.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (group[i] != group[j] && distance_of_dashes(dashes[i], dashes[j]) < widest_gap) {
        std::replace(group.begin(), group.end(), std::size_t{group[j]}, std::size_t{group[i]});
      }
    }
  }
  const auto group_at = [&](Point marker) {
    std::size_t nearest = 0;
    for (std::size_t i = 0; i < dashes.size(); ++i) {
      if (distance_to_dash(pixels(marker), dashes[i]) < distance_to_dash(pixels(marker), dashes[nearest])) nearest = i;
    }
    EXPECT_LT(distance_to_dash(pixels(marker), dashes[nearest]), 1e-9);
    return group[nearest];
  };
  return group_at(scene.first_marker) == group_at(scene.second_marker);
}

TEST(Pathfinder, LabelsAreWhatTheDashesShow) {
  const PathfinderConfig config;
  int distractors = 0;
  for (std::uint64_t i = 0; i < 300; ++i) {
    const PathfinderScene scene = make_pathfinder_scene(config, i % 2 == 0, Random{i});
    EXPECT_EQ(scene.connected, i % 2 == 0);
    EXPECT_EQ(same_path(scene, 2 * config.margin + 2.0 / kPixel), scene.connected) << i;
    distractors += static_cast<int>(scene.paths.size()) - 2;
  }
  EXPECT_GT(distractors, 300 * 4);  // of five most find room
}

TEST(Pathfinder, PathsHaveTheirDashesInsideThePictureAndKeepApart) {
  const PathfinderConfig config;
  for (std::uint64_t i = 0; i < 100; ++i) {
    const PathfinderScene scene = make_pathfinder_scene(config, true, Random{1000 + i});
    ASSERT_GE(scene.paths.size(), 2u);
    std::vector<Dash> all;
    for (std::size_t p = 0; p < scene.paths.size(); ++p) {
      const auto& path = scene.paths[p];
      ASSERT_EQ(path.size(), p < 2 ? 14u : 4u);
      for (std::size_t d = 0; d < path.size(); ++d) {
        for (const Position end : {pixels(path[d].from), pixels(path[d].to)}) {
          EXPECT_GE(std::min(end.x, end.y), 2.0);
          EXPECT_LE(std::max(end.x, end.y), 30.0);
        }
        EXPECT_NEAR(distance(pixels(path[d].from), pixels(path[d].to)), 2.0, 0.05);
        for (std::size_t other = 0; other < all.size(); ++other) {
          const double gap = distance_of_dashes(path[d], all[other]);
          if (d > 0 && other + 1 == all.size()) {
            EXPECT_LE(gap, 2.0 + 2.0 / kPixel);             // the dash before
            EXPECT_GE(gap, std::sqrt(2.0) - 2.0 / kPixel);  // a turn is at most a right angle
          } else {
            EXPECT_GE(gap, 2.0 + 3.0 / kPixel);
          }
        }
        all.push_back(path[d]);
      }
    }
    EXPECT_NEAR(distance(pixels(scene.paths[0].front().from), pixels(scene.paths[1].front().from)), 7.0, 0.05);
  }
}

TEST(Pathfinder, TurnsAreAsStraightAsContinuityAsks) {
  const auto mean_turn = [](double continuity) {
    double sum = 0;
    int count = 0;
    for (std::uint64_t i = 0; i < 60; ++i) {
      const auto scene = make_pathfinder_scene({.path_length = 6, .continuity = continuity}, true, Random{i});
      for (const auto& path : scene.paths) {
        for (std::size_t d = 1; d < path.size(); ++d) {
          const auto angle = [](const Dash& dash) {
            return std::atan2(static_cast<double>(dash.to.y - dash.from.y), static_cast<double>(dash.to.x - dash.from.x));
          };
          sum += std::abs(std::remainder(angle(path[d]) - angle(path[d - 1]), 2 * M_PI));
          ++count;
        }
      }
    }
    return sum / count;
  };
  // Of weights cos²(c·t) up to c·t = π/2 the mean of |t| is (π/4 - 1/π)/c: walls and other paths bend it.
  const double expected = M_PI / 4 - 1 / M_PI;
  EXPECT_NEAR(mean_turn(1.0), expected, 0.12);
  EXPECT_NEAR(mean_turn(1.8), expected / 1.8, 0.08);
}

TEST(Pathfinder, PicturesShowTheSceneAndNothingElse) {
  const PathfinderConfig config;
  std::vector<std::uint8_t> picture(1024);
  for (std::uint64_t i = 0; i < 50; ++i) {
    const PathfinderScene scene = make_pathfinder_scene(config, i % 2 == 0, Random{i});
    draw_pathfinder_scene(scene, config, picture);
    const auto at = [&](Position where) {
      return picture[static_cast<std::size_t>(where.y) * 32 + static_cast<std::size_t>(where.x)];
    };
    EXPECT_EQ(at(pixels(scene.first_marker)), 255);
    EXPECT_EQ(at(pixels(scene.second_marker)), 255);
    for (const auto& path : scene.paths) {
      for (const Dash& dash : path) {
        const Position a = pixels(dash.from), b = pixels(dash.to);
        EXPECT_GE(at({(a.x + b.x) / 2, (a.y + b.y) / 2}), 20);
      }
    }
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 32; ++x) {
        const Position centre{x + 0.5, y + 0.5};
        double nearest =
            std::min(distance(centre, pixels(scene.first_marker)), distance(centre, pixels(scene.second_marker))) - 1.5;
        for (const auto& path : scene.paths) {
          for (const Dash& dash : path) nearest = std::min(nearest, distance_to_dash(centre, dash) - 0.25);
        }
        if (nearest > std::sqrt(0.5)) {
          EXPECT_EQ(picture[static_cast<std::size_t>(y * 32 + x)], 0);
        }
      }
    }
  }
}

TEST(Pathfinder, HalfOfAllPicturesAreConnectedAndAllDiffer) {
  const GrayImages images = generate_pathfinder({}, 1000, 2);
  ASSERT_EQ(images.count(), 1000);
  std::set<std::vector<std::uint8_t>> seen;
  int ones = 0, leading = 0;
  for (std::size_t i = 0; i < 1000; ++i) {
    seen.insert({images.pixels.begin() + static_cast<std::ptrdiff_t>(i * 1024),
                 images.pixels.begin() + static_cast<std::ptrdiff_t>((i + 1) * 1024)});
    ones += images.labels[i];
    leading += i % 2 == 0 ? images.labels[i] : 0;
    if (i % 2 == 1) {
      EXPECT_NE(images.labels[i], images.labels[i - 1]);
    }
  }
  EXPECT_EQ(ones, 500);
  EXPECT_NEAR(leading, 250, 60);  // the first of a pair is either
  EXPECT_EQ(seen.size(), 1000u);
  const GrayImages other = generate_pathfinder({}, 200, 3);
  for (std::size_t i = 0; i < 200; ++i) {
    EXPECT_FALSE(seen.contains({other.pixels.begin() + static_cast<std::ptrdiff_t>(i * 1024),
                                other.pixels.begin() + static_cast<std::ptrdiff_t>((i + 1) * 1024)}));
  }
}

TEST(Pathfinder, TheSeedDecidesAndMorePicturesBeginWithTheSame) {
  const GrayImages first = generate_pathfinder({}, 40, 5), again = generate_pathfinder({}, 90, 5);
  EXPECT_TRUE(std::equal(first.pixels.begin(), first.pixels.end(), again.pixels.begin()));
  EXPECT_TRUE(std::equal(first.labels.begin(), first.labels.end(), again.labels.begin()));
  Sha256 hash;
  hash.update(std::as_bytes(std::span(first.pixels)));
  hash.update(std::as_bytes(std::span(first.labels)));
  EXPECT_EQ(hash.hexadecimal(), "fd65693150f06135c81e5872b8557c8dfbea79064ea7c2e87e4429bd4ac6f3d5");
}

TEST(Pathfinder, TheNearnessOfDashesIsExact) {
  Random random{1};
  const auto coordinate = [&] { return static_cast<std::int64_t>(random.below(12 * kPixel)); };
  int near = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Dash a{{coordinate(), coordinate()}, {coordinate(), coordinate()}},
        b{{coordinate(), coordinate()}, {coordinate(), coordinate()}};
    const double apart = distance_of_dashes(a, b) * kPixel;
    if (std::abs(apart - 100) < 6) continue;  // the walk along a dash is not exact
    EXPECT_EQ(nearer_than(a, b, 100), apart < 100) << i;
    near += apart < 100 ? 1 : 0;
  }
  EXPECT_GT(near, 1000);
}

TEST(Pathfinder, SenselessConfigurationsAreErrors) {
  EXPECT_THROW(generate_pathfinder({.side = 1 << 20}, 1, 0), Error);
  EXPECT_THROW(generate_pathfinder({.seed_distance = 8}, 1, 0), Error);
  EXPECT_THROW(generate_pathfinder({.margin = 0}, 1, 0), Error);
  EXPECT_THROW(generate_pathfinder({.brightness = NAN}, 1, 0), Error);
  EXPECT_NE(testing::error_of([] { generate_pathfinder({.path_length = 200}, 1, 0); }).find("found no room"),
            std::string::npos);
}

}  // namespace
}  // namespace hedgehog

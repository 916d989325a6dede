#include "hedgehog/data/pathfinder_scene.h"

#include "hedgehog/base/error.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <optional>

namespace hedgehog {
namespace {

constexpr int kTurnTries = 16;        // of a dash before its path is given up
constexpr int kSceneTries = 100'000;  // of two long paths before the configuration is called senseless
constexpr int kDistractorTries = 20;  // of a distractor before it is left out: 4.1 of 5 find room (2.9 with 5 tries)
constexpr int kPlaceTries = 1000;     // of a distractor's first dash
constexpr std::int64_t kScale = 1 << 14;
// Rounding puts a gap up to two units off; dashes that don't follow one another stay farther apart than any gap.
constexpr std::int64_t kSlack = 4;

std::int64_t units(double pixels) {
  return std::llround(pixels * static_cast<double>(kPixel));
}

/// (cos, sin) of whole degrees times kScale, rounded: the last bit of a machine's cosine does not matter.
Point direction(std::int64_t degrees) {
  static const std::array<Point, 360> directions = [] {
    std::array<Point, 360> table;
    for (std::size_t i = 0; i < table.size(); ++i) {
      const double angle = static_cast<double>(i) * std::numbers::pi / 180;
      table[i] = {std::llround(kScale * std::cos(angle)), std::llround(kScale * std::sin(angle))};
    }
    return table;
  }();
  return directions[static_cast<std::size_t>(((degrees % 360) + 360) % 360)];
}

Point moved(Point from, std::int64_t degrees, std::int64_t distance) {
  const Point along = direction(degrees);
  const auto scaled = [distance](std::int64_t share) { return (share * distance + kScale / 2) >> 14; };
  return {from.x + scaled(along.x), from.y + scaled(along.y)};
}

std::int64_t cross(Point o, Point a, Point b) {
  return (a.x - o.x) * (b.y - o.y) - (a.y - o.y) * (b.x - o.x);
}

std::int64_t squared_distance(Point a, Point b) {
  return (a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y);
}

bool cross_each_other(const Dash& a, const Dash& b) {
  const auto apart = [](std::int64_t x, std::int64_t y) { return (x > 0 && y < 0) || (x < 0 && y > 0); };
  return apart(cross(a.from, a.to, b.from), cross(a.from, a.to, b.to)) &&
         apart(cross(b.from, b.to, a.from), cross(b.from, b.to, a.to));
}

/// A path that grows at its last end: joints lie between its dashes, `margin` away from either.
struct GrowingPath {
  std::vector<Dash> dashes;
  Point joint;  // behind the last dash
  std::int64_t degrees = 0;
};

class SceneMaker {
 public:
  SceneMaker(const PathfinderConfig& config, Random random)
      : config_(config),
        random_(random),
        side_(config.side * kPixel),
        margin_(units(config.margin)),
        length_(units(config.dash_length)),
        border_(units(config.padding) + margin_) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < turn_sums_.size(); ++i) {
      const double turn = std::abs(static_cast<double>(i) - 90) * std::numbers::pi / 180;
      const double weight = std::cos(std::min(turn * config.continuity, std::numbers::pi / 2));
      turn_sums_[i] = sum += std::llround(65536 * weight * weight);
    }
  }

  /// The two long paths, or nothing when one of them runs into the other, itself or the edge.
  bool grow_long_paths() {
    const std::int64_t far = 2 * units(config_.seed_distance), room = side_ - 2 * far;
    const Point start{far + below(room), far + below(room)};
    long_paths_.clear();
    for (const Point seed : {start, moved(start, below(360), units(config_.seed_distance))}) {
      const auto path = seeded(seed);
      if (!path) return false;
      long_paths_.push_back(*path);
    }
    for (std::int64_t i = 1; i < config_.path_length; ++i) {
      if (!extend(long_paths_[0]) || !extend(long_paths_[1])) return false;
    }
    return true;
  }

  PathfinderScene finish(bool connected) {
    PathfinderScene scene;
    for (const GrowingPath& path : long_paths_) scene.paths.push_back(path.dashes);
    for (std::int64_t i = 0; i < config_.distractors; ++i) add_distractor(scene);
    const std::size_t first = below(2) == 0 ? 0 : 1;
    scene.connected = connected;
    scene.first_marker = scene.paths[first].front().from;
    scene.second_marker = scene.paths[connected ? first : 1 - first].back().to;
    return scene;
  }

 private:
  std::int64_t below(std::int64_t bound) { return static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(bound))); }

  bool inside(Point point) const {
    return std::min(point.x, point.y) >= border_ && std::max(point.x, point.y) <= side_ - border_;
  }

  /// Whether `dash` lies inside the picture and away from all dashes but the last one of `own`.
  bool has_room(const Dash& dash, const GrowingPath* own) const {
    if (!inside(dash.from) || !inside(dash.to)) return false;
    const auto clear = [&](const std::vector<Dash>& dashes, std::size_t count) {
      return std::none_of(dashes.begin(), dashes.begin() + static_cast<std::ptrdiff_t>(count),
                          [&](const Dash& other) { return nearer_than(dash, other, 2 * margin_ + kSlack); });
    };
    const auto path_is_clear = [&](const GrowingPath& path) {
      return clear(path.dashes, path.dashes.size() - (&path == own ? 1 : 0));
    };
    return std::all_of(long_paths_.begin(), long_paths_.end(), path_is_clear) &&
           std::all_of(short_paths_.begin(), short_paths_.end(), path_is_clear);
  }

  /// A path of one dash that starts at `start`, in any direction.
  std::optional<GrowingPath> seeded(Point start) {
    const std::int64_t degrees = below(360);
    const Dash dash{start, moved(start, degrees, length_)};
    if (!has_room(dash, nullptr)) return std::nullopt;
    return GrowingPath{{dash}, moved(dash.to, degrees, margin_), degrees};
  }

  bool extend(GrowingPath& path) {
    for (int i = 0; i < kTurnTries; ++i) {
      const auto turn = std::upper_bound(turn_sums_.begin(), turn_sums_.end(), below(turn_sums_.back()));
      const std::int64_t degrees = path.degrees + (turn - turn_sums_.begin()) - 90;
      const Dash dash{moved(path.joint, degrees, margin_), moved(path.joint, degrees, margin_ + length_)};
      if (!has_room(dash, &path)) continue;
      path.dashes.push_back(dash);
      path.joint = moved(path.joint, degrees, 2 * margin_ + length_);
      path.degrees = degrees;
      return true;
    }
    return false;
  }

  void add_distractor(PathfinderScene& scene) {
    for (int i = 0; i < kDistractorTries; ++i) {
      std::optional<GrowingPath> seed;
      for (int place = 0; place < kPlaceTries && !seed; ++place) seed = seeded({below(side_), below(side_)});
      if (!seed) return;
      short_paths_.push_back(*seed);
      std::int64_t dashes = 1;
      while (dashes < config_.distractor_length && extend(short_paths_.back())) ++dashes;
      if (dashes == config_.distractor_length) {
        scene.paths.push_back(short_paths_.back().dashes);
        return;
      }
      short_paths_.pop_back();
    }
  }

  const PathfinderConfig& config_;
  Random random_;
  const std::int64_t side_, margin_, length_, border_;
  std::array<std::int64_t, 181> turn_sums_;  // of the weights of turns from -90 to 90 degrees
  std::vector<GrowingPath> long_paths_, short_paths_;
};

}  // namespace

bool nearer_than(Point point, const Dash& dash, std::int64_t distance) {
  const std::int64_t length = squared_distance(dash.from, dash.to);
  const std::int64_t along =
      (point.x - dash.from.x) * (dash.to.x - dash.from.x) + (point.y - dash.from.y) * (dash.to.y - dash.from.y);
  if (along <= 0) return squared_distance(point, dash.from) < distance * distance;
  if (along >= length) return squared_distance(point, dash.to) < distance * distance;
  const std::int64_t area = cross(dash.from, dash.to, point);  // below 2^30 for pictures of up to 256 pixels
  return area * area < distance * distance * length;
}

bool nearer_than(const Dash& a, const Dash& b, std::int64_t distance) {
  const auto far = [distance](std::int64_t a1, std::int64_t a2, std::int64_t b1, std::int64_t b2) {
    return std::min(a1, a2) - std::max(b1, b2) >= distance || std::min(b1, b2) - std::max(a1, a2) >= distance;
  };
  if (far(a.from.x, a.to.x, b.from.x, b.to.x) || far(a.from.y, a.to.y, b.from.y, b.to.y)) return false;
  return nearer_than(a.from, b, distance) || nearer_than(a.to, b, distance) || nearer_than(b.from, a, distance) ||
         nearer_than(b.to, a, distance) || cross_each_other(a, b);
}

void check_pathfinder(const PathfinderConfig& config) {
  const auto side = static_cast<double>(config.side);
  check(config.side >= 8 && config.side <= 256 && config.path_length >= 1 && config.path_length <= 1000 &&
            config.distractors >= 0 && config.distractors <= 1000 && config.distractor_length >= 1 &&
            config.dash_length >= 0.25 && config.dash_length <= side && config.margin > 0 && config.margin <= side &&
            config.padding >= 0 && config.padding <= side && config.seed_distance > 0 && 4 * config.seed_distance < side &&
            config.continuity > 0 && config.continuity <= 100 && config.dash_thickness > 0 && config.dash_thickness <= side &&
            config.marker_radius > 0 && config.marker_radius <= side && config.brightness > 0 && config.brightness <= 1000,
        "Pathfinder: the configuration makes no sense: {} pixels, {} dashes of {}, margin {}, padding {}, seeds {} apart "
        "(below a quarter of the side), continuity {}, thickness {}, markers of {}, brightness {}",
        config.side, config.path_length, config.dash_length, config.margin, config.padding, config.seed_distance,
        config.continuity, config.dash_thickness, config.marker_radius, config.brightness);
}

PathfinderScene make_pathfinder_scene(const PathfinderConfig& config, bool connected, Random random) {
  check_pathfinder(config);
  SceneMaker maker(config, random);
  for (int i = 0; i < kSceneTries; ++i) {
    if (maker.grow_long_paths()) return maker.finish(connected);
  }
  fail("Pathfinder: two paths of {} dashes found no room in {} pixels in {} tries: ask for shorter ones or a larger picture",
       config.path_length, config.side, kSceneTries);
}

}  // namespace hedgehog

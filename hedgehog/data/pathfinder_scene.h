// The geometry of a Pathfinder picture (Linsley et al. 2018; Long Range Arena): two long dashed paths, short ones that
// distract, and two dots on ends of the long ones, of the same path or not. Integers throughout, so that every machine makes
// the same.
#pragma once

#include "hedgehog/base/random.h"

#include <cstdint>
#include <vector>

namespace hedgehog {

/// The defaults are Long Range Arena's for 32 x 32 pixels, difficulty "hard"; "intermediate" has a path_length of 9, "easy" of
/// 6, with distractors of a third of that and 20 dashes in all of them. Lengths in pixels.
struct PathfinderConfig {
  std::int64_t side = 32;
  std::int64_t path_length = 14;       // dashes of each long path
  std::int64_t distractor_length = 4;  // dashes of each short one
  std::int64_t distractors = 5;        // at most: those that find no room are left out
  double dash_length = 2;
  double dash_thickness = 0.5;
  double margin = 1;         // half of the gap between two dashes of a path, and of the least distance of any others
  double padding = 1;        // that nothing comes nearer to the picture's edge than, beside the margin
  double seed_distance = 7;  // between the first ends of the long paths; the first lies twice as far from every edge
  double marker_radius = 1.5;
  double continuity = 1.0;  // c: a path turns by an angle t with weight cos²(c·t), up to a right angle or c·t of one
  double brightness = 1.5;  // of a dash, times the share of a pixel that it covers
};

inline constexpr std::int64_t kPixel = 64;  // units of a Point

struct Point {
  std::int64_t x = 0, y = 0;  // in units of a pixel's 64th, from the upper left corner
};

struct Dash {
  Point from, to;
};

struct PathfinderScene {
  std::vector<std::vector<Dash>> paths;  // the two long ones first; dashes in the order of the path
  Point first_marker, second_marker;     // the first end of one long path, and the last end of the same or of the other
  bool connected = false;                // of the same
};

/// Throws Error unless the configuration makes sense.
void check_pathfinder(const PathfinderConfig& config);

/// Grows a scene. Dashes that don't follow one another are farther apart than any two that do, so that which path a dash is of
/// can be seen in the picture. Throws as check_pathfinder, and for a configuration in which two paths hardly ever find room.
PathfinderScene make_pathfinder_scene(const PathfinderConfig& config, bool connected, Random random);

/// Whether a point, or a dash, comes nearer to a dash than `distance` units.
bool nearer_than(Point point, const Dash& dash, std::int64_t distance);
bool nearer_than(const Dash& a, const Dash& b, std::int64_t distance);

}  // namespace hedgehog

// Pathfinder (Linsley et al. 2018): are the two dots ends of one dashed path? The task of Long Range Arena, drawn here.
#pragma once

#include "hedgehog/data/gray_images.h"
#include "hedgehog/data/pathfinder_scene.h"

#include <cstdint>
#include <span>

namespace hedgehog {

/// `count` pictures, a function of the arguments alone, label 1 where the dots are of one path. Pictures 2i and 2i + 1 have
/// different labels, in any order. Long Range Arena uses 80 %, 10 % and 10 % of 200,000. What differs from the published
/// program: positions are not rounded to pixels, the clearance between paths is exact rather than that of a mask resized, every
/// path is as bright as another (there distractors are brighter), and lines are averaged over 8 x 8 points a pixel rather than
/// by Lanczos. Throws as make_pathfinder_scene.
GrayImages generate_pathfinder(const PathfinderConfig& config, std::int64_t count, std::uint64_t seed);

/// Draws a scene, white on black, over side² pixels.
void draw_pathfinder_scene(const PathfinderScene& scene, const PathfinderConfig& config, std::span<std::uint8_t> pixels);

}  // namespace hedgehog

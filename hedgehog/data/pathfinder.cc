#include "hedgehog/data/pathfinder.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

namespace hedgehog {
namespace {

constexpr std::int64_t kPoints = 8;  // of a pixel, each way, at which a shape is asked for

/// Makes each pixel at least as bright as the share of it within `radius` units of `line`, times `brightness`.
void draw_line(const Dash& line, std::int64_t radius, double brightness, std::int64_t side, std::span<std::uint8_t> pixels) {
  const auto first = [&](std::int64_t a, std::int64_t b) {
    return std::max<std::int64_t>((std::min(a, b) - radius) / kPixel - 1, 0);
  };
  const auto last = [&](std::int64_t a, std::int64_t b) { return std::min((std::max(a, b) + radius) / kPixel + 1, side - 1); };
  constexpr std::int64_t kStep = kPixel / kPoints;
  for (std::int64_t y = first(line.from.y, line.to.y); y <= last(line.from.y, line.to.y); ++y) {
    for (std::int64_t x = first(line.from.x, line.to.x); x <= last(line.from.x, line.to.x); ++x) {
      int covered = 0;
      for (std::int64_t i = 0; i < kPoints * kPoints; ++i) {
        const Point point{x * kPixel + (i % kPoints) * kStep + kStep / 2, y * kPixel + (i / kPoints) * kStep + kStep / 2};
        covered += nearer_than(point, line, radius) ? 1 : 0;
      }
      const double value = std::min(255.0, std::floor(255 * brightness * covered / (kPoints * kPoints) + 0.5));
      std::uint8_t& pixel = pixels[static_cast<std::size_t>(y * side + x)];
      pixel = std::max(pixel, static_cast<std::uint8_t>(value));
    }
  }
}

}  // namespace

void draw_pathfinder_scene(const PathfinderScene& scene, const PathfinderConfig& config, std::span<std::uint8_t> pixels) {
  check(std::ssize(pixels) == config.side * config.side, "a picture of side {} has {} pixels", config.side, pixels.size());
  std::fill(pixels.begin(), pixels.end(), std::uint8_t{0});
  const auto units = [](double pixel_lengths) { return std::llround(pixel_lengths * static_cast<double>(kPixel)); };
  for (const std::vector<Dash>& path : scene.paths) {
    for (const Dash& dash : path) draw_line(dash, units(config.dash_thickness / 2), config.brightness, config.side, pixels);
  }
  for (const Point marker : {scene.first_marker, scene.second_marker}) {
    draw_line({marker, marker}, units(config.marker_radius), 1, config.side, pixels);
  }
}

GrayImages generate_pathfinder(const PathfinderConfig& config, std::int64_t count, std::uint64_t seed) {
  check_pathfinder(config);
  check(count >= 0 && count <= std::int64_t{1} << 24, "{} pictures cannot be made at once", count);
  const std::int64_t size = config.side * config.side;
  GrayImages images{.side = config.side,
                    .pixels = std::vector<std::uint8_t>(static_cast<std::size_t>(count * size)),
                    .labels = std::vector<std::uint8_t>(static_cast<std::size_t>(count))};
  at::parallel_for(0, count, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto stream = static_cast<std::uint64_t>(i);
      const bool swapped = Random{seed ^ 0x5DEECE66DULL, stream / 2}.next() >> 63 != 0;
      const bool connected = (i % 2 == 0) != swapped;
      const PathfinderScene scene = make_pathfinder_scene(config, connected, Random{Random{seed, stream}.next()});
      draw_pathfinder_scene(
          scene, config, std::span(images.pixels).subspan(static_cast<std::size_t>(i * size), static_cast<std::size_t>(size)));
      images.labels[static_cast<std::size_t>(i)] = connected ? 1 : 0;
    }
  });
  return images;
}

}  // namespace hedgehog

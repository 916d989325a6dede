// Classified square gray images, as rows of pixel ids (Long Range Arena's Image and Pathfinder) or as images (ViT).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace hedgehog {

struct GrayImages {
  std::int64_t side = 32;            // pixels
  std::vector<std::uint8_t> pixels;  // image after image, row after row: count · side²
  std::vector<std::uint8_t> labels;  // one an image

  std::int64_t count() const { return std::ssize(labels); }
};

/// int64 [batch, side²]: the pixels' values 0 to 255 as ids, row after row. Throws Error for an index out of range.
at::Tensor pixel_ids(const GrayImages& images, std::span<const std::int64_t> indices);

/// fp32 [batch, 1, side, side]: the pixels' values divided by 255. Throws as pixel_ids.
at::Tensor pixel_images(const GrayImages& images, std::span<const std::int64_t> indices);

/// int64 [batch]. Throws as pixel_ids.
at::Tensor image_labels(const GrayImages& images, std::span<const std::int64_t> indices);

}  // namespace hedgehog

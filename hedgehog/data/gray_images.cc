#include "hedgehog/data/gray_images.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>

namespace hedgehog {
namespace {

/// Calls use(row, index) for each index, checked.
template <typename Use>
void for_each_index(const GrayImages& images, std::span<const std::int64_t> indices, Use use) {
  const std::int64_t count = images.count();
  check(std::ssize(images.pixels) == count * images.side * images.side, "{} images of side {} have {} pixels", count,
        images.side, images.pixels.size());
  for (std::size_t row = 0; row < indices.size(); ++row) {
    check(indices[row] >= 0 && indices[row] < count, "there is no image {} of {}", indices[row], count);
    use(static_cast<std::int64_t>(row), indices[row]);
  }
}

template <typename Element>
void copy_pixels(const GrayImages& images, std::span<const std::int64_t> indices, Element* out, Element scale) {
  const std::int64_t size = images.side * images.side;
  for_each_index(images, indices, [&](std::int64_t row, std::int64_t index) {
    const std::uint8_t* pixels = images.pixels.data() + index * size;
    for (std::int64_t i = 0; i < size; ++i) out[row * size + i] = static_cast<Element>(pixels[i]) * scale;
  });
}

}  // namespace

at::Tensor pixel_ids(const GrayImages& images, std::span<const std::int64_t> indices) {
  at::Tensor ids = at::empty({std::ssize(indices), images.side * images.side}, at::kLong);
  copy_pixels(images, indices, ids.mutable_data_ptr<std::int64_t>(), std::int64_t{1});
  return ids;
}

at::Tensor pixel_images(const GrayImages& images, std::span<const std::int64_t> indices) {
  at::Tensor values = at::empty({std::ssize(indices), 1, images.side, images.side}, at::kFloat);
  copy_pixels(images, indices, values.mutable_data_ptr<float>(), 1.0F / 255.0F);
  return values;
}

at::Tensor image_labels(const GrayImages& images, std::span<const std::int64_t> indices) {
  at::Tensor labels = at::empty({std::ssize(indices)}, at::kLong);
  auto* out = labels.mutable_data_ptr<std::int64_t>();
  for_each_index(images, indices,
                 [&](std::int64_t row, std::int64_t index) { out[row] = images.labels[static_cast<std::size_t>(index)]; });
  return labels;
}

}  // namespace hedgehog

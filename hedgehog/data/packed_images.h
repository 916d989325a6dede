// Classified pictures as one safetensors file, which scripts/pack_images makes of a folder: "images" U8 [count, channels, side,
// side] and "labels" I64 [count]. Its metadata has "classes", and "mean" and "deviation" of the model's normalisation, a number
// a channel.
#pragma once

#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/data/examples.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace hedgehog {

/// Given to the model as (value / 255 − mean) / deviation of the channel. The pixels stay on disk until a batch needs them.
class PackedImages : public Examples {
 public:
  /// At most the file's first `most` ones, 0: all. Throws Error for a file that is not as above.
  PackedImages(const std::filesystem::path& path, std::int64_t most);

  std::int64_t size() const override { return std::ssize(labels_); }
  ExampleBatch batch(std::span<const std::int64_t> rows) const override;
  std::vector<double> labels() const override { return {labels_.begin(), labels_.end()}; }
  /// Of the labels, the shape and each image's first row of pixels: reading all of them takes longer than an epoch's share.
  std::string sha256() const override;

  std::int64_t classes() const { return classes_; }
  std::int64_t channels() const { return channels_; }
  std::int64_t side() const { return side_; }

 private:
  std::span<const std::byte> pixels(std::int64_t row) const;
  at::Tensor of_channels(const char* key) const;  // fp32 [channels, 1, 1]

  SafetensorsFile file_;
  std::vector<std::int64_t> labels_;
  std::int64_t classes_ = 0, channels_ = 0, side_ = 0;
  at::Tensor mean_, deviation_;
};

}  // namespace hedgehog

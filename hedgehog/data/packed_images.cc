#include "hedgehog/data/packed_images.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/sha256.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

namespace hedgehog {
namespace {

constexpr double kMostClasses = 1 << 24;

// Numbers with spaces between.
std::vector<double> numbers(const std::string& text) {
  std::vector<double> result;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    double number = 0;
    const auto [stop, error] = std::from_chars(at, end, number);
    if (error != std::errc() || !std::isfinite(number) || (stop < end && *stop != ' ')) return {};
    result.push_back(number);
    at = stop < end ? stop + 1 : stop;
  }
  return result;
}

std::vector<double> numbers_of(const SafetensorsFile& file, const std::string& key, std::int64_t count) {
  const auto found = file.metadata().find(key);
  check(found != file.metadata().end(), "{}: its metadata has no \"{}\"; scripts/pack_images makes such files", file.origin(),
        key);
  auto result = numbers(found->second);
  check(std::ssize(result) == count, "{}: its metadata's \"{}\" should be {} numbers, found \"{}\"", file.origin(), key, count,
        found->second.substr(0, 64));
  return result;
}

const TensorInfo& entry(const SafetensorsFile& file, const std::string& name, const std::string& dtype,
                        std::size_t dimensions) {
  const auto found =
      std::find_if(file.tensors().begin(), file.tensors().end(), [&](const auto& info) { return info.name == name; });
  check(found != file.tensors().end(), "{}: has no tensor \"{}\"; scripts/pack_images makes such files", file.origin(), name);
  check(found->dtype == dtype && found->shape.size() == dimensions, "{}: \"{}\" should be {} of {} dimensions, found {} of {}",
        file.origin(), name, dtype, dimensions, found->dtype, found->shape.size());
  return *found;
}

}  // namespace

PackedImages::PackedImages(const std::filesystem::path& path, std::int64_t most) : file_(path) {
  const TensorInfo& images = entry(file_, "images", "U8", 4);
  const std::int64_t count = entry(file_, "labels", "I64", 1).shape[0];
  check(images.shape[0] == count && count > 0, "{}: has {} images and {} labels", file_.origin(), images.shape[0], count);
  check(images.shape[1] > 0 && images.shape[2] > 0 && images.shape[2] == images.shape[3],
        "{}: images should be square, found {} × {} in {} channels", file_.origin(), images.shape[2], images.shape[3],
        images.shape[1]);
  channels_ = images.shape[1];
  side_ = images.shape[2];
  const double classes = numbers_of(file_, "classes", 1).front();
  check(classes >= 2 && classes <= kMostClasses && classes == std::floor(classes),
        "{}: \"classes\" should be 2 or more, found {}", file_.origin(), classes);
  classes_ = static_cast<std::int64_t>(classes);
  mean_ = of_channels("mean");
  deviation_ = of_channels("deviation");
  check(deviation_.gt(0).all().item<bool>(), "{}: \"deviation\" should be above 0", file_.origin());
  const at::Tensor labels = file_.load("labels");
  const std::span all(labels.const_data_ptr<std::int64_t>(),
                      static_cast<std::size_t>(most > 0 ? std::min(most, count) : count));
  labels_.assign(all.begin(), all.end());
  for (std::size_t i = 0; i < labels_.size(); ++i) {
    check(labels_[i] >= 0 && labels_[i] < classes_, "{}: the label of image {} should be below {}, found {}", file_.origin(), i,
          classes_, labels_[i]);
  }
}

at::Tensor PackedImages::of_channels(const char* key) const {
  const std::vector<double> values = numbers_of(file_, key, channels_);
  return at::tensor(values, at::kFloat).view({channels_, 1, 1});
}

std::span<const std::byte> PackedImages::pixels(std::int64_t row) const {
  check(row >= 0 && row < size(), "there is no image {} of {}", row, size());
  const auto bytes = static_cast<std::size_t>(channels_ * side_ * side_);
  return file_.bytes("images").subspan(static_cast<std::size_t>(row) * bytes, bytes);
}

ExampleBatch PackedImages::batch(std::span<const std::int64_t> rows) const {
  at::Tensor values = at::empty({std::ssize(rows), channels_, side_, side_}, at::kByte);
  std::vector<std::int64_t> labels;
  auto* out = values.mutable_data_ptr<std::uint8_t>();
  for (const std::int64_t row : rows) {
    const auto image = pixels(row);
    std::memcpy(out, image.data(), image.size());
    out += image.size();
    labels.push_back(labels_[static_cast<std::size_t>(row)]);
  }
  ExampleBatch result;
  result.input.images = (values.to(at::kFloat) / 255 - mean_) / deviation_;
  result.labels = at::tensor(labels, at::kLong);
  return result;
}

std::string PackedImages::sha256() const {
  Sha256 hash;
  const std::vector<std::int64_t> shape{size(), channels_, side_, classes_};
  hash.update(std::as_bytes(std::span(shape)));
  hash.update(std::as_bytes(std::span(labels_)));
  for (std::int64_t row = 0; row < size(); ++row) hash.update(pixels(row).first(static_cast<std::size_t>(side_)));
  return hash.hexadecimal();
}

}  // namespace hedgehog

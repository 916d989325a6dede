#include "hedgehog/data/examples.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/sha256.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace hedgehog {
namespace {

at::Tensor label_tensor(const std::vector<double>& labels, std::span<const std::int64_t> rows, bool classes) {
  auto result = at::empty({std::ssize(rows)}, classes ? at::kLong : at::kFloat);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double label = labels[static_cast<std::size_t>(rows[r])];
    if (classes) {
      result.mutable_data_ptr<std::int64_t>()[r] = static_cast<std::int64_t>(label);
    } else {
      result.mutable_data_ptr<float>()[r] = static_cast<float>(label);
    }
  }
  return result;
}

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

}  // namespace

void TokenExamples::add(std::span<const std::int32_t> tokens, std::span<const std::int32_t> token_types, double label) {
  check(!tokens.empty(), "example {}: has no tokens", size() + 1);
  check(token_types.empty() || token_types.size() == tokens.size(), "example {}: {} tokens and {} token types", size() + 1,
        tokens.size(), token_types.size());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  types_.insert(types_.end(), token_types.begin(), token_types.end());
  types_.resize(tokens_.size(), 0);
  ends_.push_back(tokens_.size());
  labels_.push_back(label);
}

ExampleBatch TokenExamples::batch(std::span<const std::int64_t> rows) const {
  const auto begin = [&](std::int64_t row) { return row == 0 ? 0 : ends_[static_cast<std::size_t>(row) - 1]; };
  std::int64_t longest = 0, shortest = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t row : rows) {
    const auto length = static_cast<std::int64_t>(ends_[static_cast<std::size_t>(row)] - begin(row));
    longest = std::max(longest, length);
    shortest = std::min(shortest, length);
  }
  const std::int64_t count = std::ssize(rows);
  ExampleBatch result;
  result.input.tokens = at::full({count, longest}, padding_token_, at::kLong);
  result.input.token_types = at::zeros({count, longest}, at::kLong);
  auto key_count = at::empty({count}, at::kInt);
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t row = rows[static_cast<std::size_t>(r)];
    const std::size_t first = begin(row), length = ends_[static_cast<std::size_t>(row)] - first;
    std::copy_n(tokens_.begin() + static_cast<std::ptrdiff_t>(first), length,
                result.input.tokens.mutable_data_ptr<std::int64_t>() + r * longest);
    std::copy_n(types_.begin() + static_cast<std::ptrdiff_t>(first), length,
                result.input.token_types.mutable_data_ptr<std::int64_t>() + r * longest);
    key_count.mutable_data_ptr<std::int32_t>()[r] = static_cast<std::int32_t>(length);
  }
  if (shortest < longest) result.input.key_count = key_count;
  result.labels = label_tensor(labels_, rows, classes_);
  return result;
}

std::string TokenExamples::sha256() const {
  Sha256 hash;
  hash.update(bytes_of(tokens_));
  hash.update(bytes_of(types_));
  hash.update(bytes_of(ends_));
  hash.update(bytes_of(labels_));
  return hash.hexadecimal();
}

void ImageExamples::add(std::span<const std::uint8_t> pixels, std::int64_t label) {
  check(std::ssize(pixels) == height_ * width_, "image {}: has {} pixels, expected {} × {}", size() + 1, pixels.size(), height_,
        width_);
  pixels_.insert(pixels_.end(), pixels.begin(), pixels.end());
  labels_.push_back(static_cast<double>(label));
}

ExampleBatch ImageExamples::batch(std::span<const std::int64_t> rows) const {
  const std::int64_t count = std::ssize(rows), pixels = height_ * width_;
  ExampleBatch result;
  result.input.images = at::empty({count, 1, height_, width_}, at::kFloat);
  auto* to = result.input.images.mutable_data_ptr<float>();
  for (std::int64_t r = 0; r < count; ++r) {
    const std::uint8_t* from = pixels_.data() + rows[static_cast<std::size_t>(r)] * pixels;
    for (std::int64_t p = 0; p < pixels; ++p) to[r * pixels + p] = static_cast<float>((from[p] / 255.0 - mean_) / deviation_);
  }
  result.labels = label_tensor(labels_, rows, /*classes=*/true);
  return result;
}

std::string ImageExamples::sha256() const {
  Sha256 hash;
  hash.update(bytes_of(pixels_));
  hash.update(bytes_of(labels_));
  return hash.hexadecimal();
}

ExampleOrder::ExampleOrder(std::int64_t examples, std::int64_t batch, std::uint64_t seed)
    : examples_(examples), batch_(batch), seed_(seed) {
  check(examples > 0 && batch > 0, "training needs examples and a batch of at least 1, found {} and {}", examples, batch);
}

std::int64_t ExampleOrder::steps_an_epoch() const {
  return (examples_ + batch_ - 1) / batch_;
}

std::vector<std::int64_t> ExampleOrder::rows(std::int64_t step) {
  const std::int64_t epoch = step / steps_an_epoch();
  if (epoch != epoch_) {
    epoch_ = epoch;
    order_.resize(static_cast<std::size_t>(examples_));
    std::iota(order_.begin(), order_.end(), 0);
    Random random{seed_ * 1000003 + static_cast<std::uint64_t>(epoch), 0};
    for (std::size_t i = order_.size() - 1; i > 0; --i) std::swap(order_[i], order_[random.below(i + 1)]);
  }
  const std::int64_t first = step % steps_an_epoch() * batch_;
  return {order_.begin() + first, order_.begin() + std::min(first + batch_, examples_)};
}

}  // namespace hedgehog

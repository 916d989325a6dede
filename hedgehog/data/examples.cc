#include "hedgehog/data/examples.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/sha256.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::int64_t kGroupedBatches = 32;  // of whose examples those of like length stand together

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

// [batch, length] to [batch, 1 + length].
at::Tensor behind(std::int64_t first_token, const at::Tensor& ids) {
  return at::cat({at::full({ids.size(0), 1}, first_token, ids.options()), ids}, 1);
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

std::vector<std::int64_t> TokenExamples::lengths() const {
  std::vector<std::int64_t> lengths;
  std::size_t begin = 0;
  for (const std::size_t end : ends_) lengths.push_back(static_cast<std::int64_t>(end - std::exchange(begin, end)));
  return lengths;
}

std::string TokenExamples::sha256() const {
  Sha256 hash;
  hash.update(bytes_of(tokens_));
  hash.update(bytes_of(types_));
  hash.update(bytes_of(ends_));
  hash.update(bytes_of(labels_));
  return hash.hexadecimal();
}

ExampleBatch SequenceExamples::batch(std::span<const std::int64_t> rows) const {
  std::int64_t longest = 1;
  for (const std::int64_t row : rows)
    longest = std::max(longest, std::ssize(sequences_.at(static_cast<std::size_t>(row)).symbols));
  longest = std::min(longest, longest_);
  const PaddedBatch padded = padded_batch(sequences_, rows, longest);
  ExampleBatch result;
  result.input.tokens = behind(first_token_, padded.ids);
  if (padded.lengths.lt(longest).any().item<bool>()) result.input.key_count = (padded.lengths + 1).to(at::kInt);
  result.labels = padded.labels;
  return result;
}

std::vector<double> SequenceExamples::labels() const {
  std::vector<double> labels;
  for (const ByteSequence& sequence : sequences_) labels.push_back(static_cast<double>(sequence.label));
  return labels;
}

std::vector<std::int64_t> SequenceExamples::lengths() const {
  std::vector<std::int64_t> lengths;
  for (const ByteSequence& sequence : sequences_) lengths.push_back(std::min(std::ssize(sequence.symbols), longest_));
  return lengths;
}

std::string SequenceExamples::sha256() const {
  Sha256 hash;
  const std::vector<std::int64_t> shape{longest_, first_token_};
  hash.update(bytes_of(shape));
  for (const ByteSequence& sequence : sequences_) {
    const std::vector<std::int64_t> ends{std::ssize(sequence.symbols), sequence.label};
    hash.update(bytes_of(ends));
    hash.update(bytes_of(sequence.symbols));
  }
  return hash.hexadecimal();
}

PairExamples::PairExamples(std::vector<ByteSequence> first, std::vector<ByteSequence> second, std::int64_t longest,
                           std::int64_t first_token)
    : both_({}, longest, first_token) {
  check(first.size() == second.size(), "pairs: {} first sequences and {} second ones", first.size(), second.size());
  first.insert(first.end(), std::make_move_iterator(second.begin()), std::make_move_iterator(second.end()));
  both_ = SequenceExamples(std::move(first), longest, first_token);
}

ExampleBatch PairExamples::batch(std::span<const std::int64_t> rows) const {
  std::vector<std::int64_t> both(rows.begin(), rows.end());
  for (const std::int64_t row : rows) both.push_back(size() + row);
  ExampleBatch result = both_.batch(both);
  result.labels = result.labels.narrow(0, 0, std::ssize(rows));
  return result;
}

std::vector<double> PairExamples::labels() const {
  std::vector<double> labels = both_.labels();
  labels.resize(static_cast<std::size_t>(size()));
  return labels;
}

std::vector<std::int64_t> PairExamples::lengths() const {
  std::vector<std::int64_t> lengths = both_.lengths();
  const auto pairs = static_cast<std::size_t>(size());
  for (std::size_t i = 0; i < pairs; ++i) lengths[i] = std::max(lengths[i], lengths[pairs + i]);
  lengths.resize(pairs);
  return lengths;
}

std::string GrayImageExamples::sha256() const {
  Sha256 hash;
  hash.update(bytes_of(images_.pixels));
  hash.update(bytes_of(images_.labels));
  return hash.hexadecimal();
}

ExampleBatch PixelExamples::batch(std::span<const std::int64_t> rows) const {
  ExampleBatch result;
  result.input.tokens = behind(first_token_, pixel_ids(images_, rows));
  result.labels = image_labels(images_, rows);
  return result;
}

ExampleBatch ImageExamples::batch(std::span<const std::int64_t> rows) const {
  ExampleBatch result;
  result.input.images = (pixel_images(images_, rows) - mean_) / deviation_;
  result.labels = image_labels(images_, rows);
  return result;
}

ExampleOrder::ExampleOrder(std::vector<std::int64_t> lengths, std::int64_t batch, std::uint64_t seed)
    : lengths_(std::move(lengths)), batch_(batch), seed_(seed) {
  check(!lengths_.empty() && batch > 0, "training needs examples and a batch of at least 1, found {} and {}", lengths_.size(),
        batch);
}

std::int64_t ExampleOrder::steps_an_epoch() const {
  return (std::ssize(lengths_) + batch_ - 1) / batch_;
}

std::vector<std::int64_t> ExampleOrder::rows(std::int64_t step) {
  const std::int64_t epoch = step / steps_an_epoch();
  if (epoch != epoch_) {
    Random random{seed_ * 1000003 + static_cast<std::uint64_t>(epoch), 0};
    std::vector<std::int64_t> order(lengths_.size());
    std::iota(order.begin(), order.end(), 0);
    shuffle(order, random);
    const auto length = [&](std::int64_t row) { return lengths_[static_cast<std::size_t>(row)]; };
    std::vector<std::vector<std::int64_t>> batches;
    for (std::span<const std::int64_t> left = order; !left.empty();) {
      auto group = left.first(std::min(left.size(), static_cast<std::size_t>(kGroupedBatches * batch_)));
      left = left.subspan(group.size());
      std::vector<std::int64_t> sorted(group.begin(), group.end());
      std::stable_sort(sorted.begin(), sorted.end(), [&](std::int64_t a, std::int64_t b) { return length(a) < length(b); });
      for (std::int64_t first = 0; first < std::ssize(sorted); first += batch_) {
        const auto begin = sorted.begin() + first;
        batches.emplace_back(begin, begin + std::min(batch_, sorted.end() - begin));
      }
    }
    shuffle(batches, random);
    batches_ = std::move(batches);
    epoch_ = epoch;
  }
  return batches_[static_cast<std::size_t>(step % steps_an_epoch())];
}

}  // namespace hedgehog

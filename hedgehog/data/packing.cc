#include "hedgehog/data/packing.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::size_t kOpenRows = 64;  // rows that may still be added to

/// Rows under way; the fullest that a part fits takes it.
class Packer {
 public:
  explicit Packer(std::int64_t length) : length_(length) {}

  void add(DocumentPart part) {
    const std::int64_t size = part.end - part.begin;
    Open* best = nullptr;
    for (Open& row : open_) {
      if (row.room >= size && (best == nullptr || row.room < best->room)) best = &row;
    }
    if (best == nullptr) {
      if (open_.size() == kOpenRows) {
        const auto less_room = [](const Open& a, const Open& b) { return a.room < b.room; };
        open_.erase(std::min_element(open_.begin(), open_.end(), less_room));
      }
      best = &open_.emplace_back(Open{rows_.size(), length_});
      rows_.emplace_back();
    }
    rows_[best->row].push_back(part);
    best->room -= size;
  }

  std::vector<PackedRow> rows() { return std::move(rows_); }

 private:
  struct Open {
    std::size_t row;
    std::int64_t room;
  };
  std::int64_t length_;
  std::vector<Open> open_;
  std::vector<PackedRow> rows_;
};

}  // namespace

std::vector<PackedRow> pack_rows(const Corpus& corpus, std::int64_t length, std::int64_t limit) {
  check(length >= 2, "a row holds at least 2 tokens, found {}", length);
  Packer packer(length);
  const std::vector<std::int64_t>& starts = corpus.document_starts;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::int64_t end = i + 1 < starts.size() ? starts[i + 1] : std::ssize(corpus.tokens);
    if (limit > 0 && end > limit && i > 0) break;
    for (std::int64_t begin = starts[i]; begin < end; begin += length) packer.add({begin, std::min(begin + length, end)});
  }
  return packer.rows();
}

Batch packed_batch(const Corpus& corpus, std::span<const PackedRow> rows, std::int64_t length) {
  const auto count = static_cast<std::int64_t>(rows.size());
  Batch batch{at::zeros({count, length}, at::kLong), at::full({count, length}, -100, at::kLong),
              at::empty({count, length}, at::kInt)};
  auto* tokens = batch.tokens.mutable_data_ptr<std::int64_t>();
  auto* targets = batch.targets.mutable_data_ptr<std::int64_t>();
  auto* segment = batch.segment_start.mutable_data_ptr<std::int32_t>();
  for (const PackedRow& row : rows) {
    std::int64_t to = 0;
    for (const DocumentPart& part : row) {
      const auto start = static_cast<std::int32_t>(to);
      for (std::int64_t at = part.begin; at < part.end; ++at, ++to) {
        const auto next = static_cast<std::size_t>(at + 1);
        tokens[to] = corpus.tokens[static_cast<std::size_t>(at)];
        segment[to] = start;
        if (at + 1 < part.end && (corpus.scored.empty() || corpus.scored[next] != 0)) targets[to] = corpus.tokens[next];
      }
    }
    for (; to < length; ++to) segment[to] = static_cast<std::int32_t>(to);
    tokens += length;
    targets += length;
    segment += length;
  }
  return batch;
}

}  // namespace hedgehog

#include "hedgehog/evaluation/windows.h"

#include "hedgehog/base/error.h"
#include "hedgehog/data/packing.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <span>

namespace hedgehog {
namespace {

WindowBatch make_batch(const Corpus& corpus, std::int64_t start, std::int64_t count, std::int64_t length) {
  WindowBatch batch;
  batch.tokens = at::empty({count, length}, at::kLong);
  at::Tensor segments = at::zeros({count, length}, at::kInt);
  auto* tokens = batch.tokens.mutable_data_ptr<std::int64_t>();
  auto* segment = segments.mutable_data_ptr<std::int32_t>();
  std::vector<std::int64_t> rows, targets;
  bool borders = false;

  const auto& starts = corpus.document_starts;
  auto next_document = std::upper_bound(starts.begin(), starts.end(), start);
  for (std::int64_t i = 0; i < count * length; ++i) {
    const std::int64_t t = i % length;
    std::int32_t segment_start = t == 0 ? 0 : segment[i - 1];
    if (next_document != starts.end() && *next_document == start + i) {
      ++next_document;
      segment_start = static_cast<std::int32_t>(t);
      borders = borders || t > 0;
    }
    tokens[i] = corpus.tokens[start + i];
    segment[i] = segment_start;
    if (t > 0 && segment_start != t) {
      rows.push_back(i - 1);
      targets.push_back(tokens[i]);
    }
  }
  if (borders) batch.segment_start = segments;
  batch.rows = at::tensor(rows, at::kLong);
  batch.targets = at::tensor(targets, at::kLong);
  return batch;
}

std::vector<WindowBatch> packed_windows(const Corpus& corpus, std::int64_t length, std::int64_t limit, std::int64_t batch) {
  const std::vector<PackedRow> packed = pack_rows(corpus, length, limit);
  std::vector<WindowBatch> batches;
  for (std::span<const PackedRow> rest = packed; !rest.empty();) {
    const auto count = std::min(rest.size(), static_cast<std::size_t>(batch));
    const Batch rows = packed_batch(corpus, rest.first(count), length);
    rest = rest.subspan(count);
    const at::Tensor targets = rows.targets.flatten(), scored = targets.ne(-100).nonzero().squeeze(1);
    batches.push_back({rows.tokens, rows.segment_start, scored, targets.index_select(0, scored)});
  }
  return batches;
}

}  // namespace

std::vector<WindowBatch> cut_windows(const Corpus& corpus, std::int64_t length, std::int64_t limit, std::int64_t batch) {
  check(length >= 2, "a window holds at least 2 tokens, found {}", length);
  check(batch >= 1, "a batch holds at least 1 window, found {}", batch);
  check(limit >= 0, "the limit of tokens cannot be negative, found {}", limit);
  auto total = static_cast<std::int64_t>(corpus.tokens.size());
  if (limit > 0) total = std::min(total, limit);
  check(total >= 2, "the corpus ({}) has {} token: at least 2 are needed", corpus.description, total);
  if (!corpus.scored.empty()) return packed_windows(corpus, length, limit, batch);

  std::vector<WindowBatch> batches;
  const std::int64_t whole = total / length;
  for (std::int64_t window = 0; window < whole; window += batch) {
    batches.push_back(make_batch(corpus, window * length, std::min(batch, whole - window), length));
  }
  if (total % length >= 2) batches.push_back(make_batch(corpus, whole * length, 1, total % length));
  return batches;
}

}  // namespace hedgehog

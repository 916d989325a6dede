#include "hedgehog/tokenizer/merge_table.h"

#include "hedgehog/base/error.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <queue>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::size_t kLongWord = 40;  // symbols from which the heap is quicker

}  // namespace

MergeTable::MergeTable(std::size_t merges) : mask_(std::bit_ceil(2 * merges + 2) - 1), slots_(mask_ + 1) {}

void MergeTable::insert(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t key = key_of(left, right);
  std::size_t i = slot_of(key);
  while (slots_[i].key != kEmpty && slots_[i].key != key) {
    i = (i + 1) & mask_;
  }
  slots_[i] = {key, merge};
}

void MergeTable::merge(std::vector<std::int32_t>& symbols) const {
  if (symbols.size() < kLongWord) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
}

void MergeTable::merge_short(std::vector<std::int32_t>& symbols) const {
  std::size_t count = symbols.size();
  Merge merges[kLongWord];  // merges[i]: of symbols i and i + 1
  for (std::size_t i = 0; i + 1 < count; ++i) {
    merges[i] = find(symbols[i], symbols[i + 1]);
  }
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      best = merges[i].rank < merges[best].rank ? i : best;
    }
    if (merges[best].rank == kNone) {
      break;
    }
    symbols[best] = merges[best].id;
    std::copy(symbols.begin() + best + 2, symbols.begin() + count, symbols.begin() + best + 1);
    std::copy(merges + best + 1, merges + count - 1, merges + best);
    --count;
    if (best > 0) {
      merges[best - 1] = find(symbols[best - 1], symbols[best]);
    }
    if (best + 1 < count) {
      merges[best] = find(symbols[best], symbols[best + 1]);
    }
  }
  symbols.resize(count);
}

void MergeTable::merge_long(std::vector<std::int32_t>& symbols) const {
  check(symbols.size() < 0x7FFFFFFF, "a word of {} bytes is too long to tokenize", symbols.size());
  struct Candidate {
    std::uint32_t rank, position;
    std::int32_t left, right, id;
    bool operator<(const Candidate& other) const {  // the top of the queue is the lowest rank, then the leftmost
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  const auto size = static_cast<std::uint32_t>(symbols.size());
  std::vector<std::uint32_t> next(size), previous(size);
  std::vector<Candidate> initial;
  const auto candidate = [&](std::uint32_t left, std::uint32_t right) -> std::optional<Candidate> {
    const Merge merge = find(symbols[left], symbols[right]);
    if (merge.rank == kNone) {
      return std::nullopt;
    }
    return Candidate{merge.rank, left, symbols[left], symbols[right], merge.id};
  };
  for (std::uint32_t i = 0; i < size; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
    if (i + 1 < size) {
      if (const auto found = candidate(i, i + 1)) {
        initial.push_back(*found);
      }
    }
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(initial));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const std::uint32_t left = top.position;
    const std::uint32_t right = next[left];
    if (symbols[left] != top.left || right >= size || symbols[right] != top.right) {
      continue;  // one of the two has been merged with another since
    }
    symbols[left] = top.id;
    symbols[right] = -1;
    next[left] = next[right];
    if (next[left] < size) {
      previous[next[left]] = left;
      if (const auto found = candidate(left, next[left])) {
        queue.push(*found);
      }
    }
    if (left > 0) {
      if (const auto found = candidate(previous[left], left)) {
        queue.push(*found);
      }
    }
  }
  std::erase(symbols, -1);
}

}  // namespace hedgehog

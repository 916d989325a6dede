// The ranked merges of byte-pair encoding: (left, right) to (rank, merged). An open hash table, since this look-up is where the
// time of merging goes; and the two ways to merge with it.
#pragma once

#include <cstdint>
#include <vector>

namespace hedgehog {

class MergeTable {
 public:
  struct Merge {
    std::uint32_t rank = kNone;
    std::int32_t id = -1;
  };
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  explicit MergeTable(std::size_t merges);
  /// A pair that is there already takes the new rank.
  void insert(std::int32_t left, std::int32_t right, Merge merge);
  Merge find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t i = slot_of(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) {
        return slots_[i].merge;
      }
      if (slots_[i].key == kEmpty) {
        return {};
      }
    }
  }

  /// Merges the adjacent pair of the lowest rank (the leftmost of equals) until no pair has a rank. Scans in short words, keeps
  /// a heap in long ones (n log n).
  void merge(std::vector<std::int32_t>& symbols) const;

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t key = kEmpty;
    Merge merge;
  };
  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t key) const { return (key * 0x9E3779B97F4A7C15ULL >> 20) & mask_; }
  void merge_short(std::vector<std::int32_t>& symbols) const;
  void merge_long(std::vector<std::int32_t>& symbols) const;

  std::size_t mask_;
  std::vector<Slot> slots_;
};

}  // namespace hedgehog

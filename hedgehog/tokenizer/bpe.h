// The model of byte-level BPE: a vocabulary and ranked merges. A word's bytes become symbols, and the adjacent pair of the
// lowest rank (the leftmost of equals) is merged until no pair has a rank.
#pragma once

#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hedgehog {

/// Hash that lets string maps be searched by string_view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using TokenMap = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

/// (left, right) to (rank, merged): an open hash table, since this look-up is where the time of merging goes.
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

  std::size_t mask_;
  std::vector<Slot> slots_;
};

class Bpe {
 public:
  /// From `model` of tokenizer.json. Throws Error for another type and for options that byte-level BPE does not have.
  explicit Bpe(const nlohmann::json& model);

  /// Appends the ids of one word (bytes, not the byte alphabet). Any number of threads at once; each has a cache of its own.
  void encode_word(std::string_view word, std::vector<std::int32_t>& ids) const;
  const TokenMap& vocabulary() const { return vocabulary_; }
  /// Above every id in use.
  std::int32_t id_end() const { return id_end_; }

 private:
  void read_vocabulary(const nlohmann::json& model);
  void read_merges(const nlohmann::json& model);
  void first_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const;
  void merge_short(std::vector<std::int32_t>& symbols) const;
  void merge_long(std::vector<std::int32_t>& symbols) const;
  void encode_uncached(std::string_view word, std::vector<std::int32_t>& ids) const;

  TokenMap vocabulary_;
  std::int32_t id_end_ = 0;
  std::array<std::int32_t, 256> byte_ids_;  // -1: the vocabulary lacks the byte
  std::optional<std::int32_t> unknown_;
  bool fuse_unknown_ = false;
  std::optional<TokenMap> whole_words_;  // by bytes; there if ignore_merges: a word in the vocabulary is one token
  MergeTable merges_{0};
  std::uint32_t cache_owner_;
};

}  // namespace hedgehog

// The ids of short words that this thread has met: a table of fixed size, shared by all tokenizers of the thread, in which a
// word lives in one slot and drives out what was there.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace hedgehog {

class WordCache {
 public:
  static constexpr std::size_t kMaximumBytes = 32;
  static constexpr std::size_t kMaximumIds = 22;

  struct Key {
    std::uint64_t parts[4];
    std::uint32_t owner;
    std::uint8_t bytes;
    std::size_t slot;
  };
  struct Slot {  // two cache lines
    std::uint64_t parts[4];
    std::uint32_t owner;  // 0: free
    std::uint8_t bytes;
    std::uint8_t count;
    std::int32_t ids[kMaximumIds];
  };

  /// A number that no other tokenizer of the process has.
  static std::uint32_t new_owner() {
    static std::atomic<std::uint32_t> next{1};
    return next.fetch_add(1);
  }

  static WordCache& of_this_thread() {
    thread_local WordCache cache;
    return cache;
  }

  /// `word` has 1 to kMaximumBytes bytes. Overlapping loads cover it; with its length they determine it.
  static Key key_of(std::string_view word, std::uint32_t owner) {
    Key key{{0, 0, 0, 0}, owner, static_cast<std::uint8_t>(word.size()), 0};
    const char* data = word.data();
    const std::size_t size = word.size();
    if (size >= 16) {
      std::memcpy(&key.parts[0], data, 16);
      std::memcpy(&key.parts[2], data + size - 16, 16);
    } else if (size >= 8) {
      std::memcpy(&key.parts[0], data, 8);
      std::memcpy(&key.parts[1], data + size - 8, 8);
    } else if (size >= 4) {
      std::memcpy(&key.parts[0], data, 4);
      std::memcpy(&key.parts[1], data + size - 4, 4);
    } else {
      std::memcpy(&key.parts[0], data, 1);
      std::memcpy(&key.parts[1], data + size / 2, 1);
      std::memcpy(&key.parts[2], data + size - 1, 1);
    }
    std::uint64_t hash = owner * 0x9E3779B97F4A7C15ULL + size;
    for (const std::uint64_t part : key.parts) {
      hash = (hash ^ part) * 0xD6E8FEB86659FD93ULL;
      hash ^= hash >> 32;
    }
    key.slot = hash & (kSlots - 1);
    return key;
  }

  /// The slot if it holds the word, else null.
  const Slot* find(const Key& key) const {
    const Slot& slot = slots_[key.slot];
    const bool same = slot.owner == key.owner && slot.bytes == key.bytes && slot.parts[0] == key.parts[0] &&
                      slot.parts[1] == key.parts[1] && slot.parts[2] == key.parts[2] && slot.parts[3] == key.parts[3];
    return same ? &slot : nullptr;
  }

  void store(const Key& key, std::span<const std::int32_t> ids) {
    if (ids.size() > kMaximumIds) {
      return;
    }
    Slot& slot = slots_[key.slot];
    std::memcpy(slot.parts, key.parts, sizeof slot.parts);
    slot.owner = key.owner;
    slot.bytes = key.bytes;
    slot.count = static_cast<std::uint8_t>(ids.size());
    std::memcpy(slot.ids, ids.data(), ids.size_bytes());
  }

  /// Appends the ids of `word` to `ids`: out of this thread's cache, else by encode(word, ids), which must append too.
  template <typename Encode>
  static void encode(std::string_view word, std::uint32_t owner, std::vector<std::int32_t>& ids, Encode&& encode) {
    if (word.empty()) {
      return;
    }
    if (word.size() > kMaximumBytes) {
      encode(word, ids);
      return;
    }
    WordCache& cache = of_this_thread();
    const Key key = key_of(word, owner);
    if (const Slot* slot = cache.find(key)) {
      ids.insert(ids.end(), slot->ids, slot->ids + slot->count);
      return;
    }
    const std::size_t before = ids.size();
    encode(word, ids);
    cache.store(key, std::span(ids).subspan(before));
  }

 private:
  static constexpr std::size_t kSlots = std::size_t{1} << 14;
  WordCache() : slots_(std::make_unique<Slot[]>(kSlots)) {}
  std::unique_ptr<Slot[]> slots_;
};

}  // namespace hedgehog

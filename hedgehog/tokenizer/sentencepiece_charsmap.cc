// A unit of the double array is 32 bits: bit 31 marks a value (the other bits), else bits 0 to 7 are the label of the edge that
// leads here, bit 8 says that a value is stored with the children, and the rest gives the place of the children: the child of
// label c stands at (own index ^ offset) ^ c. What is below is the library's search, walked along all edges.
#include "hedgehog/tokenizer/sentencepiece_charsmap.h"

#include "hedgehog/base/error.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace hedgehog {
namespace {

constexpr int kMostMatches = 32;  // places for the matches of one search in the library: keys that begin one with another

std::uint32_t read_unit(std::string_view bytes, std::size_t index) {
  std::uint32_t unit = 0;
  for (int i = 3; i >= 0; --i) {
    unit = unit << 8 | static_cast<unsigned char>(bytes[4 * index + static_cast<std::size_t>(i)]);
  }
  return unit;
}

bool is_value(std::uint32_t unit) {
  return (unit >> 31) != 0;
}
bool has_value(std::uint32_t unit) {
  return ((unit >> 8) & 1) != 0;
}
std::uint32_t offset_of(std::uint32_t unit) {
  return (unit >> 10) << ((unit & (1U << 9)) >> 6);
}

struct Walk {
  std::string_view trie, replacements;
  const char* name;
  std::size_t size = trie.size() / 4;
  enum class State : std::uint8_t { kNew, kOpen, kDone };
  std::vector<State> state = std::vector<State>(size, State::kNew);
  std::vector<std::uint8_t> matches = std::vector<std::uint8_t>(size, 0);  // the most values on a way down from here

  // Where the children of a node stand; all 256 places are inside the array.
  std::size_t children(std::size_t node) const {
    const std::size_t base = node ^ offset_of(read_unit(trie, node));
    check((base | 255) < size, "{}: the character map points outside itself (unit {})", name, node);
    return base;
  }

  int own_match(std::size_t node, std::size_t base) const {
    if (!has_value(read_unit(trie, node))) {
      return 0;
    }
    const std::uint32_t value = read_unit(trie, base) & 0x7FFFFFFF;
    check(value < replacements.size(), "{}: the character map has a replacement at {}, of {} bytes", name, value,
          replacements.size());
    return 1;
  }

  void run() {
    struct Step {
      std::size_t node, base, next;
    };
    std::vector<Step> way = {{0, children(0), 0}};
    state[0] = State::kOpen;
    while (!way.empty()) {
      Step& step = way.back();
      if (step.next == 256) {
        // The library never looks for a value at the root.
        matches[step.node] += static_cast<std::uint8_t>(step.node == 0 ? 0 : own_match(step.node, step.base));
        check(matches[step.node] <= kMostMatches, "{}: the character map has more than {} keys that begin one with another",
              name, kMostMatches);
        state[step.node] = State::kDone;
        const std::uint8_t below = matches[step.node];
        way.pop_back();
        if (!way.empty()) {
          matches[way.back().node] = std::max(matches[way.back().node], below);
        }
        continue;
      }
      const std::size_t label = step.next++;
      const std::size_t child = step.base ^ label;
      const std::uint32_t unit = read_unit(trie, child);
      if (is_value(unit) || (unit & 0xFF) != label) {
        continue;
      }
      check(state[child] != State::kOpen, "{}: the character map leads back to itself (unit {})", name, child);
      if (state[child] == State::kDone) {
        matches[step.node] = std::max(matches[step.node], matches[child]);
      } else {
        state[child] = State::kOpen;
        way.push_back({child, children(child), 0});
      }
    }
  }
};

}  // namespace

void check_character_map(std::string_view map, const char* name) {
  check(map.size() > 4, "{}: the character map has {} bytes", name, map.size());
  const std::size_t trie_bytes = read_unit(map, 0);
  check(trie_bytes % 4 == 0 && trie_bytes > 0 && trie_bytes < map.size() - 4,
        "{}: the character map of {} bytes says that its trie has {}", name, map.size(), trie_bytes);
  const std::string_view replacements = map.substr(4 + trie_bytes);
  check(replacements.back() == '\0', "{}: the character map ends inside a replacement", name);
  Walk walk{map.substr(4, trie_bytes), replacements, name};
  walk.run();
}

}  // namespace hedgehog

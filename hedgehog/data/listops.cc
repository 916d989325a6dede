#include "hedgehog/data/listops.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"
#include "hedgehog/data/tsv_reader.h"
#include "hedgehog/data/words.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_set>

namespace hedgehog {
namespace {

constexpr std::array<std::string_view, kListOpsSymbols> kWords = {"0", "1", "2",    "3",    "4",    "5",   "6", "7",
                                                                  "8", "9", "[MIN", "[MAX", "[MED", "[SM", "]"};
constexpr int kMostTrees = 100'000;  // thrown away in a row, before the configuration is called senseless

/// Grows random trees, as the symbols that they are written with.
class TreeGrower {
 public:
  TreeGrower(const ListOpsConfig& config, std::uint64_t seed) : config_(config), random_{seed} {}

  const std::vector<std::uint8_t>& next() {
    for (int i = 0; i < kMostTrees; ++i) {
      symbols_.clear();
      if (grow(1) && std::ssize(symbols_) > config_.longer_than) return symbols_;
    }
    fail("none of {} random lists of at most {} levels and {} arguments has between {} and {} symbols: ask for other lengths",
         kMostTrees, config_.deepest, config_.most_arguments, config_.longer_than, config_.shorter_than);
  }

 private:
  /// False as soon as the tree is too long, whatever would follow.
  bool grow(int level) {
    if (level >= config_.deepest || random_.uniform() > config_.list_probability) {
      symbols_.push_back(static_cast<std::uint8_t>(random_.below(10)));
    } else {
      symbols_.push_back(static_cast<std::uint8_t>(kMinimum + random_.below(4)));
      const std::uint64_t arguments = 2 + random_.below(static_cast<std::uint64_t>(config_.most_arguments) - 1);
      for (std::uint64_t i = 0; i < arguments; ++i) {
        if (!grow(level + 1)) return false;
      }
      symbols_.push_back(kClose);
    }
    return std::ssize(symbols_) < config_.shorter_than;
  }

  const ListOpsConfig& config_;
  Random random_;
  std::vector<std::uint8_t> symbols_;
};

std::int64_t value_of_list(std::uint8_t operation, std::vector<std::int64_t>& arguments) {
  switch (operation) {
    case kMinimum:
      return *std::min_element(arguments.begin(), arguments.end());
    case kMaximum:
      return *std::max_element(arguments.begin(), arguments.end());
    case kSumModulo10:
      return std::accumulate(arguments.begin(), arguments.end(), std::int64_t{0}) % 10;
    default: {
      std::sort(arguments.begin(), arguments.end());
      const std::size_t size = arguments.size();
      return (arguments[(size - 1) / 2] + arguments[size / 2]) / 2;
    }
  }
}

}  // namespace

std::vector<ByteSequence> generate_listops(const ListOpsConfig& config, std::int64_t count, std::uint64_t seed) {
  check(config.deepest >= 1 && config.deepest <= 1000 && config.most_arguments >= 2 && config.most_arguments <= 1000 &&
            config.longer_than >= 0 && config.shorter_than > config.longer_than + 1 && config.list_probability >= 0 &&
            config.list_probability <= 1 && count >= 0,
        "ListOps cannot be made with {} levels, {} arguments, lengths between {} and {}, probability {}, count {}",
        config.deepest, config.most_arguments, config.longer_than, config.shorter_than, config.list_probability, count);
  std::vector<ByteSequence> examples;
  std::unordered_set<std::string_view> seen;  // of the examples' symbols, which stay where they are when examples grows
  int repeated = 0;
  for (std::uint64_t stream = 0; std::ssize(examples) < count; ++stream) {
    TreeGrower grower(config, Random{seed, stream}.next());
    const std::vector<std::uint8_t>& symbols = examples.emplace_back(ByteSequence{grower.next()}).symbols;
    if (seen.emplace(reinterpret_cast<const char*>(symbols.data()), symbols.size()).second) {
      examples.back().label = evaluate_listops(symbols);
      continue;
    }
    examples.pop_back();
    check(++repeated < kMostTrees, "there are hardly {} different lists between {} and {} symbols: ask for longer ones", count,
          config.longer_than, config.shorter_than);
  }
  return examples;
}

std::int64_t evaluate_listops(std::span<const std::uint8_t> symbols) {
  struct List {
    std::uint8_t operation;
    std::vector<std::int64_t> arguments;
  };
  std::vector<List> open;
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    std::int64_t value = symbols[i];
    check(value < kListOpsSymbols, "ListOps: symbol {} is {}, expected at most {}", i, value, kListOpsSymbols - 1);
    if (value >= kMinimum && value < kClose) {
      open.push_back({symbols[i], {}});
      continue;
    }
    if (value == kClose) {
      check(!open.empty(), "ListOps: symbol {} closes a list, and none is open", i);
      check(!open.back().arguments.empty(), "ListOps: symbol {} closes a list without arguments", i);
      value = value_of_list(open.back().operation, open.back().arguments);
      open.pop_back();
    }
    if (open.empty()) {
      check(i + 1 == symbols.size(), "ListOps: the expression ends with symbol {}, and {} more follow", i,
            symbols.size() - i - 1);
      return value;
    }
    open.back().arguments.push_back(value);
  }
  fail("ListOps: the expression ends after {} symbols with {} lists open", symbols.size(), open.size());
}

std::string listops_text(std::span<const std::uint8_t> symbols) {
  std::string text;
  for (const std::uint8_t symbol : symbols) {
    check(symbol < kListOpsSymbols, "ListOps: there is no symbol {}", symbol);
    if (!text.empty()) text += ' ';
    text += kWords[symbol];
  }
  return text;
}

std::vector<std::uint8_t> parse_listops(std::string_view text) {
  std::vector<std::uint8_t> symbols;
  for (const std::string_view word : words_of(text, " ")) {
    if (word == "(" || word == ")") continue;
    const auto* const found = std::find(kWords.begin(), kWords.end(), word);
    check(found != kWords.end(), "ListOps: '{}' is no word of it", word.substr(0, 40));
    symbols.push_back(static_cast<std::uint8_t>(found - kWords.begin()));
  }
  return symbols;
}

std::vector<ByteSequence> read_listops(const std::filesystem::path& path) {
  TsvReader reader(path, {"Source", "Target"});
  std::vector<ByteSequence> examples;
  for (std::vector<std::string_view> fields; reader.next(fields);) {
    ByteSequence& example = examples.emplace_back();
    try {
      example.symbols = parse_listops(fields[0]);
      example.label = evaluate_listops(example.symbols);
    } catch (const Error& error) {
      fail("{}: {}", reader.where(), error.what());
    }
    if (fields[1] != std::to_string(example.label)) {
      fail("{}: the target is '{}', but the list's value is {}", reader.where(), fields[1].substr(0, 40), example.label);
    }
  }
  check(!examples.empty(), "{}: holds no lists", path.string());
  return examples;
}

}  // namespace hedgehog

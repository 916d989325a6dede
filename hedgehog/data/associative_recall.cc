#include "hedgehog/data/associative_recall.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"

#include <ATen/ATen.h>

#include <string_view>
#include <unordered_set>
#include <vector>

namespace hedgehog {
namespace {

/// Writes the pairs, the mark and the key to `row`, and returns the value.
std::int64_t write_example(const RecallConfig& config, Random random, std::int64_t* row) {
  const std::int64_t keys = recall_keys(config), mark = recall_mark(config);
  const auto below = [&](std::int64_t bound) {
    return static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(bound)));
  };
  std::vector<std::int64_t> value_of(static_cast<std::size_t>(keys));
  for (std::int64_t& value : value_of) value = keys + below(mark - keys);
  std::vector<std::int64_t> present;
  std::vector<bool> is_present(static_cast<std::size_t>(keys));
  for (std::int64_t i = 0; i < config.length; i += 2) {
    const std::int64_t key = below(keys);
    row[i] = key;
    row[i + 1] = value_of[static_cast<std::size_t>(key)];
    if (!is_present[static_cast<std::size_t>(key)]) present.push_back(key);
    is_present[static_cast<std::size_t>(key)] = true;
  }
  // The published code draws from all keys, and again from those present if the first is not: the same distribution.
  const std::int64_t query = present[static_cast<std::size_t>(below(std::ssize(present)))];
  row[config.length] = mark;
  row[config.length + 1] = query;
  return value_of[static_cast<std::size_t>(query)];
}

}  // namespace

std::int64_t recall_keys(const RecallConfig& config) {
  return (config.vocabulary - 2) / 2;
}

std::int64_t recall_mark(const RecallConfig& config) {
  return config.vocabulary - 2;
}

RecallData generate_associative_recall(const RecallConfig& config, std::int64_t count, std::uint64_t seed) {
  check(config.vocabulary >= 6 && config.vocabulary <= 1 << 20 && config.length >= 2 && config.length <= 1 << 24 &&
            config.length % 2 == 0 && count > 0 && count <= (std::int64_t{1} << 32) / config.length,
        "associative recall cannot be made with a vocabulary of {}, length {}, {} examples: expected at least 6 ids, an even "
        "length",
        config.vocabulary, config.length, count);
  const std::int64_t width = config.length + 2;
  RecallData data{at::empty({count, width}, at::kLong), at::empty({count}, at::kLong)};
  auto* tokens = data.tokens.mutable_data_ptr<std::int64_t>();
  auto* answers = data.answers.mutable_data_ptr<std::int64_t>();
  std::unordered_set<std::string_view> seen;  // the rows' bytes
  std::int64_t made = 0;
  for (std::uint64_t stream = 0; made < count; ++stream) {
    check(static_cast<std::int64_t>(stream) < 100 * count + 1000,
          "there are hardly {} different examples of length {} over {} ids: ask for fewer, or longer ones", count,
          config.length, config.vocabulary);
    std::int64_t* row = tokens + made * width;
    answers[made] = write_example(config, Random{Random{seed, stream}.next()}, row);
    const auto bytes = static_cast<std::size_t>(width) * sizeof(std::int64_t);
    if (seen.emplace(reinterpret_cast<const char*>(row), bytes).second) ++made;
  }
  return data;
}

}  // namespace hedgehog

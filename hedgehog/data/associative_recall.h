// Associative recall, as in H3 (Dao, Fu et al. 2023) and Hedgehog: pairs of a key and its value, then a key whose value is to
// be said.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hedgehog {

struct RecallConfig {
  std::int64_t vocabulary = 40;  // ids: keys, values, the query mark, and one that is never used (the published "none")
  std::int64_t length = 128;     // of the pairs, even; the mark and the key that is asked for come on top
};

struct RecallData {
  at::Tensor tokens;   // int64 [count, length + 2]
  at::Tensor answers;  // int64 [count]: the token that follows the last
};

/// `count` different examples, a function of the arguments alone. The published procedure: of the vocabulary without two, the
/// first half are keys and the rest values; an example gives each key a random value (values may repeat), draws length / 2 keys
/// with replacement, writes each with its value, then the mark (id vocabulary - 2) and one of the keys that were drawn. The
/// paper's 10,000 and 2,000 are parts of one such list. To train on every position as published, the targets are the tokens
/// moved up by one and the answer; to test, the answer alone. Throws Error for a configuration without two keys, or whose
/// examples are fewer than `count`.
RecallData generate_associative_recall(const RecallConfig& config, std::int64_t count, std::uint64_t seed);

/// Of the configuration's ids: keys are 0 to recall_keys - 1, values recall_keys to recall_mark - 1.
std::int64_t recall_keys(const RecallConfig& config);
std::int64_t recall_mark(const RecallConfig& config);

}  // namespace hedgehog

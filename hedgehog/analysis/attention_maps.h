// Whole weight matrices of short sequences, softmax's and the converted attention's side by side: for the eye, not for figures.
#pragma once

#include "hedgehog/models/classifier.h"
#include "hedgehog/models/decoder.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hedgehog {

/// One head's rows × keys, row by row, of a causal head only the keys up to the row: w as sign(w)·round(127·√|w|), so that
/// small weights can still be told apart; |w| above 1 counts as 1.
struct HeadMap {
  std::int64_t layer = 0, head = 0;
  std::vector<std::int8_t> softmax, linear;
  std::vector<double> entropy_softmax, entropy_linear;  // of each row, nats
};

struct AttentionMaps {
  std::int64_t tokens = 0;
  bool causal = true;
  std::vector<HeadMap> heads;  // in order of layer, then head
};

/// Teacher-forced, as fidelity(). Throws Error for no token.
AttentionMaps attention_maps(const Decoder& model, std::span<const std::int32_t> tokens);

/// Of one example, whose first `most` tokens are shown: rows of a longer one miss what they gave to later keys.
AttentionMaps attention_maps(Classifier& model, const ClassifierInput& example, std::int64_t most);

/// {"causal", "labels", "heads": [{"softmax", "linear": base64 of the bytes, "entropy_softmax", "entropy_linear"}]}. `labels`:
/// one a token, shown beside rows and keys.
nlohmann::json to_json(const AttentionMaps& maps, const std::vector<std::string>& labels);

}  // namespace hedgehog

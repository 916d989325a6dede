// Which key/value heads of a converted classifier are worth keeping as softmax: those that bring its predictions back to the
// softmax model's, one change at a time.
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/data/examples.h"
#include "hedgehog/models/classifier.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <vector>

namespace hedgehog {

struct KeptHead {
  KeptSoftmax what;
  double distance = 0;  // of the model with this one and all before it
};

/// Distances are from the softmax model's predictions on the examples: the mean KL(softmax ‖ this model) of the labels in nats,
/// of a regression the mean square of the difference.
struct KeptHeads {
  double distance = 0;          // with no head kept
  std::vector<KeptHead> heads;  // in the order in which they were chosen
};
nlohmann::json to_json(const KeptHeads& kept);
/// Throws Error for JSON that to_json() did not write.
KeptHeads kept_heads(const nlohmann::json& json);

struct KeptHeadsConfig {
  std::int64_t count = 0;                  // most heads that are kept
  std::int64_t examples = 64, batch = 16;  // the first ones, on which all is measured
  int rounds = 2;                          // every head is measured anew in each
};

/// Greedily: in each round layers are measured as softmax as a whole, the heads of the third of them that brings most one by
/// one, and the best of these are kept as long as each brings the model nearer. `model` has them at the end; its weights stay.
/// Throws Error for a count below 1.
KeptHeads keep_heads(Classifier& model, const Examples& examples, const KeptHeadsConfig& config, Progress& progress);

/// What keep_heads() did. Throws Error for a layer or head that is not there.
void keep_heads(Classifier& model, const KeptHeads& kept);

}  // namespace hedgehog

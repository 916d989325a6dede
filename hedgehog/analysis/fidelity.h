// Per layer and head: how a converted attention differs from softmax on the same q, k, v (the properties of the paper's section
// 3).
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/data/examples.h"
#include "hedgehog/models/decoder.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <vector>

namespace hedgehog {

struct HeadFidelity {
  std::int64_t layer = 0, head = 0;
  double entropy_softmax = 0, entropy_linear = 0;  // nats, mean over rows
  double kl = 0;                                   // mean KL(softmax ‖ linear)
  double monotonicity = 0;                         // Spearman correlation of weight with q·k inside rows, mean
  double linear_share = 0;                         // share of the weight that the linear part carries
  double output_error = 0;                         // |y − ŷ|² / |y|²
};

/// Teacher-forced: each head gets the q, k, v that the model with softmax attention gives it. Over the corpus's first
/// `sequences` windows of `length` tokens; up to 128 query rows of each are looked at, spread evenly, and 16 of these are
/// ranked. In order of layer, then head. Throws Error for a corpus of fewer than two tokens.
std::vector<HeadFidelity> fidelity(const Decoder& model, const Corpus& corpus, std::int64_t sequences, std::int64_t length,
                                   Progress& progress);

/// The same of a classifier on its first `examples` examples, `batch` at a time.
std::vector<HeadFidelity> fidelity(Classifier& model, const Examples& examples, std::int64_t count, std::int64_t batch,
                                   Progress& progress);

/// Mean over all heads of all layers.
HeadFidelity mean_over_heads(const std::vector<HeadFidelity>& heads);

/// "entropy_softmax", "kl", …: every measure by its name; of several heads a list, with "layer" and "head".
nlohmann::json to_json(const HeadFidelity& head);
nlohmann::json to_json(const std::vector<HeadFidelity>& heads);

}  // namespace hedgehog

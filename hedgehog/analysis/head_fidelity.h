// What one head's attention is beside softmax on the same queries, keys and values: the measures, their names and means.
#pragma once

#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <vector>

namespace hedgehog {

/// Mean weights of the keys whose score lies so far below the largest of their row; see kCurveStep.
struct CurveBin {
  double keys = 0;
  double softmax = 0, linear = 0;
};

/// Scores (q·k/√D, nats) are sorted into bins by how far they lie below the row's largest: 0 to 0.5, 0.5 to 1, …, 11.5 and
/// more.
inline constexpr double kCurveStep = 0.5;
inline constexpr std::size_t kCurveBins = 24;

/// Means over the rows that were looked at. "Linear" is the converted attention, of a hybrid all of it.
struct HeadFidelity {
  std::int64_t layer = 0, head = 0;
  double entropy_softmax = 0, entropy_linear = 0;  // nats
  double kl = 0;                                   // KL(softmax ‖ linear), nats
  double monotonicity = 0;                         // Spearman correlation of weight with q·k inside rows
  double inverted_pairs = 0;                       // share of a row's pairs of keys that the weights order against q·k
  double linear_share = 0;                         // share of the weight that the linear part carries
  double output_error = 0;                         // |y − ŷ|² / |y|²
  // exp of the entropy of the singular values' shares (Roy and Vetterli 2007) of Σ φ(k) vᵀ at a sequence's end: from 1 to
  // min(F, D); 0 for a state of zeros, NaN where there is no linear part.
  double effective_rank = 0;
  double log_denominator = 0;  // log |Σ_j weights before they are normalised|, nats; of a softmax head logsumexp of the scores
  // Share of the weight on keys fewer than so many tokens away.
  double mass_16_softmax = 0, mass_16_linear = 0;
  double mass_64_softmax = 0, mass_64_linear = 0;
  double mass_256_softmax = 0, mass_256_linear = 0;
  std::array<CurveBin, kCurveBins> curve = {};
};

/// A measure by its name in JSON.
struct HeadMeasure {
  const char* name;
  double HeadFidelity::*value;
};

inline constexpr std::array kHeadMeasures = {
    HeadMeasure{"entropy_softmax", &HeadFidelity::entropy_softmax},
    HeadMeasure{"entropy_linear", &HeadFidelity::entropy_linear},
    HeadMeasure{"kl", &HeadFidelity::kl},
    HeadMeasure{"monotonicity", &HeadFidelity::monotonicity},
    HeadMeasure{"inverted_pairs", &HeadFidelity::inverted_pairs},
    HeadMeasure{"linear_share", &HeadFidelity::linear_share},
    HeadMeasure{"output_error", &HeadFidelity::output_error},
    HeadMeasure{"effective_rank", &HeadFidelity::effective_rank},
    HeadMeasure{"log_denominator", &HeadFidelity::log_denominator},
    HeadMeasure{"mass_16_softmax", &HeadFidelity::mass_16_softmax},
    HeadMeasure{"mass_16_linear", &HeadFidelity::mass_16_linear},
    HeadMeasure{"mass_64_softmax", &HeadFidelity::mass_64_softmax},
    HeadMeasure{"mass_64_linear", &HeadFidelity::mass_64_linear},
    HeadMeasure{"mass_256_softmax", &HeadFidelity::mass_256_softmax},
    HeadMeasure{"mass_256_linear", &HeadFidelity::mass_256_linear},
};

/// Mean over the heads of all layers; of a measure that some heads do not have (NaN), over the others.
HeadFidelity mean_over_heads(const std::vector<HeadFidelity>& heads);

/// Every measure by its name (null where a head does not have it), and "curve": a list for each of "keys", "softmax", "linear".
/// Of several heads a list, with "layer" and "head".
nlohmann::json to_json(const HeadFidelity& head);
nlohmann::json to_json(const std::vector<HeadFidelity>& heads);

}  // namespace hedgehog

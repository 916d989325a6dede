// Which heads fail to be softmax, why, in plain words, and what to try.
#pragma once

#include "hedgehog/analysis/head_fidelity.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace hedgehog {

/// A head fails when its weights or its output are this far from softmax's. 0.25 nats: on average a key's weight is off by a
/// factor of 1.28. 0.1: the output's error is a third of its norm.
inline constexpr double kFailingKl = 0.25, kFailingOutputError = 0.1;
/// Entropies that differ by half a nat: as if 1.65 times as many (or as few) keys were attended to.
inline constexpr double kEntropyGap = 0.5;
/// Softmax's weights rise with q·k always (1 and 0 pairs inverted); random ones have 0 and 0.5.
inline constexpr double kLeastMonotonicity = 0.7, kMostInvertedPairs = 0.25;
/// A linear part that carries less than this while softmax has at least the second share behind the window is dead.
inline constexpr double kDeadShare = 0.01, kFarMass = 0.05;
/// A state that keeps less than this says the same whatever is asked; of one direction the effective rank is 1.
inline constexpr double kLeastRank = 1.5;
/// A head is out of its training length when there it does not fail, and its KL at a longer one is larger by this and by half.
inline constexpr double kLengthKl = 0.1;

enum class Cause { kDeadLinearPart, kOutOfTrainingLength, kNotMonotonic, kNotSpiky, kTooSpiky, kPoorState, kUnlike };

/// "dead linear part", "out of the training length", "not monotonic", "not spiky", "too spiky", "poor state", "unlike softmax".
std::string to_string(Cause cause);
/// What to do about it, one sentence.
std::string remedy(Cause cause);

struct Verdict {
  std::int64_t layer = 0, head = 0;
  Cause cause = Cause::kUnlike;
  double kl = 0, output_error = 0;
  std::string seen;  // the figures that say so
};

/// Of the failing heads, worst KL first, the likely cause: the first of Cause's that holds. `window`: of a hybrid, tokens;
/// 0: there is none. `at_training_length`: the same heads at the length that they were trained on; empty: not measured.
std::vector<Verdict> verdicts(const std::vector<HeadFidelity>& heads, std::int64_t window,
                              const std::vector<HeadFidelity>& at_training_length = {});

/// A line each, "layer 3, head 1: not spiky (entropy 3.91 nats, softmax 1.20; KL 1.52): …", the `most` worst, and how many more
/// there are; after a line that counts heads and causes. Of no verdict one line.
std::vector<std::string> in_words(const std::vector<Verdict>& verdicts, std::size_t heads, std::size_t most);

nlohmann::json to_json(const std::vector<Verdict>& verdicts);

}  // namespace hedgehog

#include "hedgehog/analysis/verdicts.h"

#include "hedgehog/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace hedgehog {
namespace {

struct CauseInWords {
  Cause cause;
  const char* name;
  const char* remedy;
};

// In the order in which they are looked for; the last one holds of every failing head.
constexpr std::array kCauses = {
    CauseInWords{Cause::kDeadLinearPart, "dead linear part",
                 "distil longer, with a shorter window, or drop the linear part: it costs and gives nothing"},
    CauseInWords{Cause::kOutOfTrainingLength, "out of the training length", "distil on longer rows (--distill-length)"},
    CauseInWords{Cause::kNotMonotonic, "not monotonic",
                 "distil longer or with more rows of the map (--map-dim), or keep softmax in this layer (--keep-softmax)"},
    CauseInWords{Cause::kNotSpiky, "not spiky", "distil longer, take a Hedgehog map, or add a window (--attention hybrid)"},
    CauseInWords{Cause::kTooSpiky, "too spiky", "distil longer or at a lower rate (--distill-lr)"},
    CauseInWords{Cause::kPoorState, "poor state",
                 "take more rows of the map (--map-dim), or keep softmax in this layer (--keep-softmax)"},
    CauseInWords{Cause::kUnlike, "unlike softmax", "distil longer, or keep softmax in this layer (--keep-softmax)"},
};

const CauseInWords& in_words(Cause cause) {
  return *std::find_if(kCauses.begin(), kCauses.end(), [&](const CauseInWords& words) { return words.cause == cause; });
}

bool fails(const HeadFidelity& head) {
  return head.kl >= kFailingKl || head.output_error >= kFailingOutputError;
}

// Softmax's mass on keys that are surely behind the window.
double far_mass(const HeadFidelity& head, std::int64_t window) {
  if (window <= 16) return 1 - head.mass_16_softmax;
  if (window <= 64) return 1 - head.mass_64_softmax;
  return window <= 256 ? 1 - head.mass_256_softmax : 0;
}

// The cause's figures; empty where it does not hold.
std::string figures(Cause cause, const HeadFidelity& head, std::int64_t window, const HeadFidelity* trained) {
  const double gap = head.entropy_linear - head.entropy_softmax;
  switch (cause) {
    case Cause::kDeadLinearPart: {
      const double far = far_mass(head, window);
      if (window == 0 || head.linear_share >= kDeadShare || far < kFarMass) return {};
      return fmt::format("it carries {:.1f} % of the weight, softmax has {:.0f} % behind the window", 100 * head.linear_share,
                         100 * far);
    }
    case Cause::kOutOfTrainingLength:
      if (trained == nullptr || fails(*trained) || head.kl < trained->kl + kLengthKl || head.kl < 1.5 * trained->kl) return {};
      return fmt::format("KL {:.2f} at the length of training", trained->kl);
    case Cause::kNotMonotonic:
      if (head.monotonicity >= kLeastMonotonicity && head.inverted_pairs <= kMostInvertedPairs) return {};
      return fmt::format("rank correlation with q·k {:.2f}, {:.0f} % of the pairs inverted", head.monotonicity,
                         100 * head.inverted_pairs);
    case Cause::kNotSpiky:
    case Cause::kTooSpiky:
      if ((cause == Cause::kNotSpiky ? gap : -gap) < kEntropyGap) return {};
      return fmt::format("entropy {:.2f} nats, softmax {:.2f}", head.entropy_linear, head.entropy_softmax);
    case Cause::kPoorState:
      if (window > 0 || std::isnan(head.effective_rank) || head.effective_rank >= kLeastRank) return {};
      return fmt::format("the state's effective rank is {:.1f}", head.effective_rank);
    case Cause::kUnlike:
      return fmt::format("output error {:.2f}", head.output_error);
  }
  return {};
}

}  // namespace

std::string to_string(Cause cause) {
  return in_words(cause).name;
}

std::string remedy(Cause cause) {
  return in_words(cause).remedy;
}

std::vector<Verdict> verdicts(const std::vector<HeadFidelity>& heads, std::int64_t window,
                              const std::vector<HeadFidelity>& at_training_length) {
  check(at_training_length.empty() || at_training_length.size() == heads.size(),
        "verdicts: {} heads at one length and {} at the other", heads.size(), at_training_length.size());
  std::vector<Verdict> result;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const HeadFidelity& head = heads[i];
    if (!fails(head)) continue;
    const HeadFidelity* trained = at_training_length.empty() ? nullptr : &at_training_length[i];
    for (const CauseInWords& words : kCauses) {
      std::string seen = figures(words.cause, head, window, trained);
      if (seen.empty()) continue;
      result.push_back({head.layer, head.head, words.cause, head.kl, head.output_error, std::move(seen)});
      break;
    }
  }
  std::stable_sort(result.begin(), result.end(), [](const Verdict& a, const Verdict& b) { return a.kl > b.kl; });
  return result;
}

std::vector<std::string> in_words(const std::vector<Verdict>& verdicts, std::size_t heads, std::size_t most) {
  if (verdicts.empty()) {
    return {fmt::format("None of the {} heads fails: KL below {} nats and output error below {} each.", heads, kFailingKl,
                        kFailingOutputError)};
  }
  std::string causes;
  for (const CauseInWords& words : kCauses) {
    const auto count =
        std::count_if(verdicts.begin(), verdicts.end(), [&](const Verdict& v) { return v.cause == words.cause; });
    if (count > 0) causes += fmt::format("{}{} {}", causes.empty() ? "" : ", ", count, words.name);
  }
  std::vector<std::string> lines = {fmt::format("{} of {} heads fail (KL from {} nats, or output error from {}): {}.",
                                                verdicts.size(), heads, kFailingKl, kFailingOutputError, causes)};
  for (std::size_t i = 0; i < std::min(most, verdicts.size()); ++i) {
    const Verdict& v = verdicts[i];
    lines.push_back(fmt::format("layer {}, head {}: {} ({}; KL {:.2f}): {}.", v.layer, v.head, to_string(v.cause), v.seen, v.kl,
                                remedy(v.cause)));
  }
  if (verdicts.size() > most) lines.push_back(fmt::format("and {} more", verdicts.size() - most));
  return lines;
}

nlohmann::json to_json(const std::vector<Verdict>& verdicts) {
  nlohmann::json list = nlohmann::json::array();
  for (const Verdict& v : verdicts) {
    list.push_back({{"layer", v.layer},
                    {"head", v.head},
                    {"cause", to_string(v.cause)},
                    {"kl", v.kl},
                    {"output_error", v.output_error},
                    {"seen", v.seen},
                    {"remedy", remedy(v.cause)}});
  }
  return list;
}

}  // namespace hedgehog

#include "hedgehog/data/text_augmentation.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"
#include "hedgehog/data/examples.h"
#include "hedgehog/data/words.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::array kEditedShares = {0.1, 0.2, 0.3, 0.5};
constexpr double kExchanged = 0.6, kTurned = 0.2;
constexpr double kOneEdited = 0.35, kBothEdited = 0.5, kOwnEdit = 0.75;  // of pairs, cumulative; the rest: paired anew

template <typename Values>
const auto& any_of(const Values& values, Random& random) {
  return values[random.below(values.size())];
}

class Augmentation {
 public:
  Augmentation(std::span<const TextExample> examples, std::uint64_t seed) : examples_(examples), random_{seed, 0} {
    const auto add = [this](std::string_view text) {
      texts_.push_back(text);
      const auto words = words_of(text);
      words_.insert(words_.end(), words.begin(), words.end());
    };
    for (const TextExample& example : examples) {
      add(example.text);
      if (example.second) add(*example.second);
    }
  }

  TextExample next() {
    const TextExample& example = any_of(examples_, random_);
    if (!example.second) return {edited(example.text), {}, kNoLabel};
    const double kind = random_.uniform();
    if (kind < kOneEdited) {
      if (random_.below(2) == 0) return {edited(example.text), example.second, kNoLabel};
      return {example.text, edited(*example.second), kNoLabel};
    }
    if (kind < kBothEdited) return {edited(example.text), edited(*example.second), kNoLabel};
    const std::string text(any_of(texts_, random_));
    if (kind < kOwnEdit) return {text, edited(text), kNoLabel};
    return {text, std::string(any_of(texts_, random_)), kNoLabel};
  }

 private:
  std::string edited(std::string_view text) {
    const double share = any_of(kEditedShares, random_);
    std::vector<std::string_view> result;
    for (const std::string_view word : words_of(text)) {
      if (random_.uniform() >= share) {
        result.push_back(word);
      } else if (random_.uniform() < kExchanged) {
        result.push_back(any_of(words_, random_));
      }
    }
    if (result.empty()) return std::string(text);
    if (random_.uniform() < kTurned) {
      std::rotate(result.begin(), result.begin() + static_cast<std::ptrdiff_t>(random_.below(result.size())), result.end());
    }
    return fmt::format("{}", fmt::join(result, " "));
  }

  std::span<const TextExample> examples_;
  std::vector<std::string_view> texts_, words_;
  Random random_;
};

}  // namespace

std::vector<TextExample> augmented(std::span<const TextExample> examples, std::int64_t count, std::uint64_t seed) {
  check(!examples.empty(), "there are no examples to make others of");
  Augmentation augmentation(examples, seed);
  std::vector<TextExample> made;
  made.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) made.push_back(augmentation.next());
  return made;
}

}  // namespace hedgehog

#include "hedgehog/evaluation/rouge.h"

#include "hedgehog/base/error.h"
#include "hedgehog/evaluation/porter_stemmer.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>

namespace hedgehog {
namespace {

RougeScore score_of(std::int64_t common, std::int64_t target, std::int64_t prediction) {
  RougeScore score;
  score.precision = static_cast<double>(common) / static_cast<double>(std::max<std::int64_t>(prediction, 1));
  score.recall = static_cast<double>(common) / static_cast<double>(std::max<std::int64_t>(target, 1));
  const double sum = score.precision + score.recall;
  score.f = sum > 0 ? 2 * score.precision * score.recall / sum : 0.0;
  return score;
}

using Ids = std::vector<std::uint32_t>;

/// Every run of `n` ids as one number.
std::vector<std::uint64_t> sorted_ngrams(const Ids& ids, std::size_t n) {
  std::vector<std::uint64_t> ngrams;
  for (std::size_t i = 0; i + n <= ids.size(); ++i)
    ngrams.push_back(n == 1 ? ids[i] : std::uint64_t{ids[i]} << 32 | ids[i + 1]);
  std::sort(ngrams.begin(), ngrams.end());
  return ngrams;
}

RougeScore ngram_score(const Ids& target, const Ids& prediction, std::size_t n) {
  const std::vector<std::uint64_t> a = sorted_ngrams(target, n), b = sorted_ngrams(prediction, n);
  std::vector<std::uint64_t> common;  // each as often as in the text that has it more rarely
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  return score_of(std::ssize(common), std::ssize(a), std::ssize(b));
}

RougeScore subsequence_score(const Ids& target, const Ids& prediction) {
  // best[j]: the longest common subsequence of the target so far and the first j ids of the prediction
  std::vector<std::int64_t> best(prediction.size() + 1, 0);
  for (const std::uint32_t id : target) {
    std::int64_t diagonal = 0;
    for (std::size_t j = 0; j < prediction.size(); ++j) {
      const std::int64_t above = best[j + 1];
      best[j + 1] = id == prediction[j] ? diagonal + 1 : std::max(above, best[j]);
      diagonal = above;
    }
  }
  return score_of(best.back(), std::ssize(target), std::ssize(prediction));
}

}  // namespace

std::vector<std::string> rouge_tokens(std::string_view text) {
  std::vector<std::string> tokens;
  std::string token;
  const auto end_token = [&] {
    if (!token.empty()) tokens.push_back(token.size() > 3 ? porter_stem(token) : token);
    token.clear();
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    // The two characters beyond ASCII whose lower case begins with a letter of it: the Kelvin sign is "k", and the capital I
    // with a dot is "i" and a combining dot, at which a token ends.
    if (text.substr(i).starts_with("\xE2\x84\xAA")) {
      token += 'k';
      i += 2;
    } else if (text.substr(i).starts_with("\xC4\xB0")) {
      token += 'i';
      i += 1;
      end_token();
    } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      token += c;
    } else {
      end_token();
    }
  }
  end_token();
  return tokens;
}

Rouge rouge(std::string_view target, std::string_view prediction) {
  std::unordered_map<std::string, std::uint32_t> numbers;
  const auto ids_of = [&](std::string_view text) {
    Ids ids;
    for (std::string& token : rouge_tokens(text)) {
      ids.push_back(numbers.try_emplace(std::move(token), static_cast<std::uint32_t>(numbers.size())).first->second);
    }
    return ids;
  };
  const Ids a = ids_of(target), b = ids_of(prediction);
  return {ngram_score(a, b, 1), ngram_score(a, b, 2), subsequence_score(a, b)};
}

Rouge mean_rouge(const std::vector<std::string>& targets, const std::vector<std::string>& predictions) {
  check(targets.size() == predictions.size() && !targets.empty(), "ROUGE needs as many predictions as targets, found {} and {}",
        predictions.size(), targets.size());
  Rouge sum;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const Rouge each = rouge(targets[i], predictions[i]);
    for (RougeScore Rouge::*kind : {&Rouge::one, &Rouge::two, &Rouge::longest}) {
      for (double RougeScore::*value : {&RougeScore::precision, &RougeScore::recall, &RougeScore::f}) {
        (sum.*kind).*value += (each.*kind).*value / static_cast<double>(targets.size());
      }
    }
  }
  return sum;
}

}  // namespace hedgehog

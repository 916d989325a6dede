// ROUGE (Lin 2004), as Google's rouge-score package computes it with use_stemmer=True.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

struct RougeScore {
  double precision = 0, recall = 0, f = 0;  // shares, not percent; f: their harmonic mean
};

struct Rouge {
  RougeScore one, two;  // of n-grams of one and of two tokens, repeated ones clipped
  RougeScore longest;   // of the longest common subsequence of the whole texts ("rougeL", not "rougeLsum")
};

/// The text's tokens: lower-cased, cut at all but a-z and 0-9, those of more than three characters stemmed (porter_stemmer.h).
std::vector<std::string> rouge_tokens(std::string_view text);

/// `prediction` against `target`, in any two texts; all is 0 if either has no tokens. The longest subsequence takes time in the
/// product of their lengths.
Rouge rouge(std::string_view target, std::string_view prediction);

/// The mean of every score over the pairs. Throws Error for lists of different lengths and for empty ones.
Rouge mean_rouge(const std::vector<std::string>& targets, const std::vector<std::string>& predictions);

}  // namespace hedgehog

#include "hedgehog/evaluation/porter_stemmer.h"

#include <array>
#include <cstddef>
#include <span>
#include <utility>

namespace hedgehog {
namespace {

struct Rule {
  std::string_view ending, replacement;
};

/// Words that have their stem from a table. NLTK.
constexpr auto kIrregular = std::to_array<Rule>({{"sky", "sky"},
                                                 {"skies", "sky"},
                                                 {"dying", "die"},
                                                 {"lying", "lie"},
                                                 {"tying", "tie"},
                                                 {"news", "news"},
                                                 {"innings", "inning"},
                                                 {"inning", "inning"},
                                                 {"outings", "outing"},
                                                 {"outing", "outing"},
                                                 {"cannings", "canning"},
                                                 {"canning", "canning"},
                                                 {"howe", "howe"},
                                                 {"proceed", "proceed"},
                                                 {"exceed", "exceed"},
                                                 {"succeed", "succeed"}});

/// For each letter whether it is a consonant: y is one at the start and after a vowel.
std::string consonants(std::string_view word) {
  std::string kinds(word.size(), 'c');
  for (std::size_t i = 0; i < word.size(); ++i) {
    const bool vowel = std::string_view("aeiou").find(word[i]) != std::string_view::npos;
    if (vowel || (word[i] == 'y' && i > 0 && kinds[i - 1] == 'c')) kinds[i] = 'v';
  }
  return kinds;
}

/// Porter's m: how often a consonant follows a vowel.
int measure(std::string_view stem) {
  const std::string kinds = consonants(stem);
  int count = 0;
  for (std::size_t i = 1; i < kinds.size(); ++i) count += kinds[i - 1] == 'v' && kinds[i] == 'c' ? 1 : 0;
  return count;
}

bool has_vowel(std::string_view stem) {
  return consonants(stem).find('v') != std::string::npos;
}

bool ends_with_double_consonant(std::string_view word) {
  return word.size() >= 2 && word[word.size() - 2] == word.back() && consonants(word).back() == 'c';
}

/// Porter's *o: the end is consonant, vowel, consonant, the last not w, x or y. NLTK: or the whole word is vowel, consonant.
bool ends_short(std::string_view word) {
  const std::string kinds = consonants(word);
  if (kinds == "vc") return true;
  return kinds.ends_with("cvc") && std::string_view("wxy").find(word.back()) == std::string_view::npos;
}

std::string join(std::string_view stem, std::string_view ending) {
  return std::string(stem).append(ending);
}

/// The first rule whose ending the word has decides: its replacement if holds(stem), else the word stays.
template <typename Condition>
std::string replace_ending(std::string word, std::span<const Rule> rules, Condition holds) {
  for (const Rule& rule : rules) {
    if (!word.ends_with(rule.ending)) continue;
    const std::string_view stem = std::string_view(word).substr(0, word.size() - rule.ending.size());
    return holds(stem, rule) ? join(stem, rule.replacement) : word;
  }
  return word;
}

/// Plurals.
std::string step_1a(std::string word) {
  if (word.size() == 4 && word.ends_with("ies")) return word.substr(0, 3);  // "dies": "die". NLTK
  constexpr auto kRules = std::to_array<Rule>({{"sses", "ss"}, {"ies", "i"}, {"ss", "ss"}, {"s", ""}});
  return replace_ending(std::move(word), kRules, [](std::string_view, const Rule&) { return true; });
}

/// -ed and -ing, and what their going leaves behind: "hopp" becomes "hop", "fil" "file".
std::string step_1b(std::string word) {
  if (word.ends_with("ied")) return word.substr(0, word.size() == 4 ? 3 : word.size() - 2);  // "died": "die". NLTK
  if (word.ends_with("eed")) return measure(word.substr(0, word.size() - 3)) > 0 ? word.substr(0, word.size() - 1) : word;
  std::string stem;
  for (const std::string_view ending : {"ed", "ing"}) {
    if (word.ends_with(ending)) stem = word.substr(0, word.size() - ending.size());
  }
  if (!has_vowel(stem)) return word;
  for (const std::string_view ending : {"at", "bl", "iz"}) {
    if (stem.ends_with(ending)) return stem + "e";
  }
  if (ends_with_double_consonant(stem)) {
    const bool stays = std::string_view("lsz").find(stem.back()) != std::string_view::npos;
    return stays ? stem : stem.substr(0, stem.size() - 1);
  }
  return measure(stem) == 1 && ends_short(stem) ? stem + "e" : stem;
}

/// -y. NLTK: after a consonant that is not the first letter.
std::string step_1c(std::string word) {
  if (word.size() > 2 && word.back() == 'y' && consonants(word)[word.size() - 2] == 'c') word.back() = 'i';
  return word;
}

/// Double suffixes: "ization" is "ize" and "ation". The endings "bli", "fulli" and "logi" are NLTK's.
std::string step_2(std::string word) {
  while (word.ends_with("alli") && measure(word.substr(0, word.size() - 4)) > 0) word.resize(word.size() - 2);
  constexpr auto kRules = std::to_array<Rule>(
      {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},   {"izer", "ize"},    {"bli", "ble"},
       {"alli", "al"},     {"entli", "ent"},   {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
       {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},
       {"iviti", "ive"},   {"biliti", "ble"},  {"fulli", "ful"},   {"logi", "log"}});
  return replace_ending(std::move(word), kRules, [](std::string_view stem, const Rule& rule) {
    return measure(rule.ending == "logi" ? join(stem, "l") : std::string(stem)) > 0;
  });
}

std::string step_3(std::string word) {
  constexpr auto kRules = std::to_array<Rule>(
      {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""}});
  return replace_ending(std::move(word), kRules, [](std::string_view stem, const Rule&) { return measure(stem) > 0; });
}

/// Single suffixes, off long stems.
std::string step_4(std::string word) {
  constexpr auto kRules = std::to_array<Rule>({{"al", ""},
                                               {"ance", ""},
                                               {"ence", ""},
                                               {"er", ""},
                                               {"ic", ""},
                                               {"able", ""},
                                               {"ible", ""},
                                               {"ant", ""},
                                               {"ement", ""},
                                               {"ment", ""},
                                               {"ent", ""},
                                               {"ion", ""},
                                               {"ou", ""},
                                               {"ism", ""},
                                               {"ate", ""},
                                               {"iti", ""},
                                               {"ous", ""},
                                               {"ive", ""},
                                               {"ize", ""}});
  return replace_ending(std::move(word), kRules, [](std::string_view stem, const Rule& rule) {
    return measure(stem) > 1 && (rule.ending != "ion" || stem.back() == 's' || stem.back() == 't');
  });
}

/// A last -e, and the second l of -ll, off long stems.
std::string step_5(std::string word) {
  if (word.ends_with('e')) {
    const std::string stem = word.substr(0, word.size() - 1);
    const int length = measure(stem);
    if (length > 1 || (length == 1 && !ends_short(stem))) word = stem;
  }
  if (word.ends_with("ll") && measure(word.substr(0, word.size() - 1)) > 1) word.pop_back();
  return word;
}

}  // namespace

std::string porter_stem(std::string_view word) {
  for (const auto& [irregular, stem] : kIrregular) {
    if (word == irregular) return std::string(stem);
  }
  if (word.size() <= 2) return std::string(word);
  return step_5(step_4(step_3(step_2(step_1c(step_1b(step_1a(std::string(word))))))));
}

}  // namespace hedgehog

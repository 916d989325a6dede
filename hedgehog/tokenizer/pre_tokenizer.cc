// The steps: a Scanner for the well-known patterns, else matches (of a regular expression, a string or a class of characters)
// and one of the five behaviours that say what becomes of a match.
#include "hedgehog/tokenizer/pre_tokenizer.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/regex.h"
#include "hedgehog/tokenizer/scanner.h"

#include <algorithm>
#include <string>

namespace hedgehog {
namespace {

enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior behavior_of(const std::string& name) {
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  fail("tokenizer.json: Split: unknown behavior '{}'", name);
}

struct Part {
  Span span;
  bool match;
};

// Matches and the gaps between them, in order; `invert` swaps the two.
std::vector<Part> parts_of(std::string_view text, const std::vector<Span>& matches, bool invert) {
  std::vector<Part> parts;
  parts.reserve(2 * matches.size() + 1);
  std::size_t end = 0;
  for (const Span& match : matches) {
    if (match.begin > end) {
      parts.push_back({{end, match.begin}, invert});
    }
    parts.push_back({match, !invert});
    end = match.end;
  }
  if (end < text.size()) {
    parts.push_back({{end, text.size()}, invert});
  }
  return parts;
}

// Joins parts as the behaviour says: what is left are the pieces.
std::vector<Part> join(std::vector<Part> parts, Behavior behavior) {
  if (behavior == Behavior::kIsolated) {
    return parts;
  }
  if (behavior == Behavior::kRemoved) {
    std::erase_if(parts, [](const Part& part) { return part.match; });
    return parts;
  }
  const bool backwards = behavior == Behavior::kMergedWithNext;
  if (backwards) {
    std::reverse(parts.begin(), parts.end());
  }
  std::vector<Part> joined;
  bool previous = false;
  for (const Part& part : parts) {
    const bool merge = behavior == Behavior::kContiguous ? part.match == previous : part.match && !previous;
    if (merge && !joined.empty()) {
      (backwards ? joined.back().span.begin : joined.back().span.end) = backwards ? part.span.begin : part.span.end;
    } else {
      joined.push_back(part);
    }
    previous = part.match;
  }
  if (backwards) {
    std::reverse(joined.begin(), joined.end());
  }
  return joined;
}

void emit_parts(std::string_view text, const std::vector<Part>& parts, PieceSink sink) {
  for (const Part& part : parts) {
    sink(text.substr(part.span.begin, part.span.end - part.span.begin));
  }
}

class ScannerStep final : public PreTokenizerStep {
 public:
  explicit ScannerStep(KnownPattern pattern) : scanner_(pattern) {}
  void split(std::string_view text, PieceSink sink) const override { scanner_.split(text, sink); }

 private:
  Scanner scanner_;
};

class RegexStep final : public PreTokenizerStep {
 public:
  RegexStep(std::string_view pattern, Behavior behavior, bool invert) : regex_(pattern), behavior_(behavior), invert_(invert) {}
  void split(std::string_view text, PieceSink sink) const override {
    emit_parts(text, join(parts_of(text, regex_.find_all(text), invert_), behavior_), sink);
  }

 private:
  Regex regex_;
  Behavior behavior_;
  bool invert_;
};

class StringStep final : public PreTokenizerStep {
 public:
  StringStep(std::string text, Behavior behavior, bool invert)
      : needle_(std::move(text)), behavior_(behavior), invert_(invert) {}
  void split(std::string_view text, PieceSink sink) const override {
    std::vector<Span> matches;
    for (std::size_t at = text.find(needle_); at != std::string_view::npos; at = text.find(needle_, at + needle_.size())) {
      matches.push_back({at, at + needle_.size()});
    }
    emit_parts(text, join(parts_of(text, matches, invert_), behavior_), sink);
  }

 private:
  std::string needle_;
  Behavior behavior_;
  bool invert_;
};

class DigitsStep final : public PreTokenizerStep {
 public:
  explicit DigitsStep(bool individual) : individual_(individual), classes_(CharacterClasses::get()) {}
  void split(std::string_view text, PieceSink sink) const override {
    std::size_t begin = 0;
    bool in_digits = false;
    for (std::size_t i = 0; i < text.size();) {
      const CodePoint c = decode_character(text.data() + i);
      const bool digit = classes_[c.value] & CharacterClasses::kNumeric;
      if (i > begin && (digit != in_digits || (digit && individual_))) {
        sink(text.substr(begin, i - begin));
        begin = i;
      }
      in_digits = digit;
      i += c.bytes;
    }
    sink(text.substr(begin));
  }

 private:
  bool individual_;
  const CharacterClasses& classes_;
};

class PrefixSpaceStep final : public PreTokenizerStep {
 public:
  void split(std::string_view text, PieceSink sink) const override {
    if (text.starts_with(' ')) {
      sink(text);
    } else {
      sink(std::string(" ").append(text));
    }
  }
};

std::unique_ptr<PreTokenizerStep> make_split(const nlohmann::json& description) {
  const Behavior behavior = behavior_of(string_field(description, "behavior", "Split"));
  const bool invert = flag_field(description, "invert", false);
  const nlohmann::json& pattern = object_field(description, "pattern", "Split");
  if (pattern.contains("String")) {
    std::string needle = string_field(pattern, "String", "Split pattern");
    if (!needle.empty()) {
      return std::make_unique<StringStep>(std::move(needle), behavior, invert);
    }
    return std::make_unique<RegexStep>("", behavior, invert);
  }
  check(pattern.contains("Regex"), "tokenizer.json: Split: expected a pattern of kind Regex or String, found {}",
        pattern.dump().substr(0, 80));
  const std::string regex = string_field(pattern, "Regex", "Split pattern");
  if (behavior == Behavior::kIsolated && !invert) {
    if (const auto known = find_known_pattern(regex)) {
      return std::make_unique<ScannerStep>(*known);
    }
  }
  return std::make_unique<RegexStep>(regex, behavior, invert);
}

}  // namespace

PreTokenizer::PreTokenizer(const nlohmann::json& description) {
  check(description.is_object(),
        "tokenizer.json: expected a pre_tokenizer that ends in ByteLevel, found {}; SentencePiece tokenizers are not supported",
        description.is_null() ? "none" : description.type_name());
  add(description, 0);
  check(has_byte_level_, "tokenizer.json: expected a pre_tokenizer that ends in ByteLevel: only byte-level BPE is known");
}

void PreTokenizer::add(const nlohmann::json& description, int depth) {
  check(depth < kMaximumNesting, "tokenizer.json: pre_tokenizer is nested deeper than {}", kMaximumNesting);
  const std::string type = string_field(description, "type", "pre_tokenizer");
  if (type == "Sequence") {
    for (const auto& part : array_field(description, "pretokenizers", "pre_tokenizer")) {
      add(part, depth + 1);
    }
    return;
  }
  check(!has_byte_level_, "tokenizer.json: pre_tokenizer {} after ByteLevel is not known", type);
  if (type == "ByteLevel") {
    has_byte_level_ = true;
    if (flag_field(description, "add_prefix_space", true)) {
      steps_.push_back(std::make_unique<PrefixSpaceStep>());
    }
    if (flag_field(description, "use_regex", true)) {
      steps_.push_back(std::make_unique<ScannerStep>(KnownPattern::kGpt2));
    }
  } else if (type == "Split") {
    steps_.push_back(make_split(description));
  } else if (type == "Digits") {
    steps_.push_back(std::make_unique<DigitsStep>(flag_field(description, "individual_digits", false)));
  } else {
    fail("tokenizer.json: unknown pre_tokenizer '{}'", type);
  }
}

void PreTokenizer::run(std::size_t step, std::string_view text, PieceSink sink) const {
  if (text.empty()) {
    return;
  }
  if (step == steps_.size()) {
    sink(text);
    return;
  }
  auto next = [&](std::string_view piece) { run(step + 1, piece, sink); };
  steps_[step]->split(text, next);
}

}  // namespace hedgehog

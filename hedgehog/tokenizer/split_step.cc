// A Scanner for the well-known patterns, else matches (of a regular expression or a string) and one of the five behaviours
// that say what becomes of a match.
#include "hedgehog/tokenizer/split_step.h"

#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/regex.h"
#include "hedgehog/tokenizer/scanner.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

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
  void split(std::string_view text, bool /*at_start*/, PieceSink sink) const override { scanner_.split(text, sink); }

 private:
  Scanner scanner_;
};

class RegexStep final : public PreTokenizerStep {
 public:
  RegexStep(std::string_view pattern, Behavior behavior, bool invert) : regex_(pattern), behavior_(behavior), invert_(invert) {}
  void split(std::string_view text, bool /*at_start*/, PieceSink sink) const override {
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
  void split(std::string_view text, bool /*at_start*/, PieceSink sink) const override {
    emit_parts(text, join(parts_of(text, find_all(text, needle_), invert_), behavior_), sink);
  }

 private:
  std::string needle_;
  Behavior behavior_;
  bool invert_;
};

}  // namespace

std::unique_ptr<PreTokenizerStep> make_scanner_step(KnownPattern pattern) {
  return std::make_unique<ScannerStep>(pattern);
}

std::unique_ptr<PreTokenizerStep> make_split_step(const nlohmann::json& description) {
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
      return make_scanner_step(*known);
    }
  }
  return std::make_unique<RegexStep>(regex, behavior, invert);
}

}  // namespace hedgehog

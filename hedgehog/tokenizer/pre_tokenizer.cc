#include "hedgehog/tokenizer/pre_tokenizer.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/bert_characters.h"
#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/metaspace.h"
#include "hedgehog/tokenizer/split_step.h"
#include "hedgehog/tokenizer/unicode.h"

#include <string>

namespace hedgehog {
namespace {

class DigitsStep final : public PreTokenizerStep {
 public:
  explicit DigitsStep(bool individual) : individual_(individual), classes_(CharacterClasses::get()) {}
  void split(std::string_view text, bool /*at_start*/, PieceSink sink) const override {
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
  void split(std::string_view text, bool /*at_start*/, PieceSink sink) const override {
    if (text.starts_with(' ')) {
      sink(text);
    } else {
      sink(std::string(" ").append(text));
    }
  }
};

// Words are what stands between separators; punctuation is cut off them, each character a word of its own, if so wished.
class BertStep final : public PreTokenizerStep {
 public:
  explicit BertStep(bool cut_punctuation)
      : alone_(cut_punctuation ? BertCharacters::kPunctuation : 0), classes_(BertCharacters::get()) {}
  void split(std::string_view text, bool /*at_start*/, PieceSink sink) const override {
    std::size_t begin = 0;
    const auto end_word = [&](std::size_t end) {
      if (end > begin) {
        sink(text.substr(begin, end - begin));
      }
    };
    for (std::size_t i = 0; i < text.size();) {
      const CodePoint c = decode_character(text.data() + i);
      const std::uint8_t kind = classes_[c.value];
      if (kind & (BertCharacters::kSeparator | alone_)) {
        end_word(i);
        if (!(kind & BertCharacters::kSeparator)) {
          sink(text.substr(i, c.bytes));
        }
        begin = i + c.bytes;
      }
      i += c.bytes;
    }
    end_word(text.size());
  }

 private:
  std::uint8_t alone_;
  const BertCharacters& classes_;
};

}  // namespace

PreTokenizer::PreTokenizer(const nlohmann::json& description) {
  if (!description.is_null()) {
    add(description, 0);
  }
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
      steps_.push_back(make_scanner_step(KnownPattern::kGpt2));
    }
  } else if (type == "Split") {
    steps_.push_back(make_split_step(description));
  } else if (type == "Digits") {
    steps_.push_back(std::make_unique<DigitsStep>(flag_field(description, "individual_digits", false)));
  } else if (type == "BertPreTokenizer" || type == "WhitespaceSplit") {
    steps_.push_back(std::make_unique<BertStep>(type == "BertPreTokenizer"));
  } else if (type == "Metaspace") {
    steps_.push_back(std::make_unique<MetaspaceStep>(Metaspace(description, "pre_tokenizer")));
  } else {
    fail("tokenizer.json: unknown pre_tokenizer '{}'", type.substr(0, 80));
  }
}

void PreTokenizer::run(std::size_t step, std::string_view text, bool at_start, PieceSink sink) const {
  if (text.empty()) {
    return;
  }
  if (step == steps_.size()) {
    sink(text);
    return;
  }
  auto next = [&](std::string_view piece) { run(step + 1, piece, at_start && piece.data() == text.data(), sink); };
  steps_[step]->split(text, at_start, next);
}

}  // namespace hedgehog

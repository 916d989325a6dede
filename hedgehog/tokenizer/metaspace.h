// Metaspace of tokenizer.json, pre-tokenizer and decoder: blanks are written as a mark, U+2581, and a text begins with one.
#pragma once

#include "hedgehog/tokenizer/pre_tokenizer_step.h"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace hedgehog {

struct Metaspace {
  enum class Prepend { kAlways, kFirst, kNever };  // before every stretch of text, before the one at the text's start, nowhere

  /// From an entry of type "Metaspace" of tokenizer.json. Throws Error that names `where` for fields that don't fit.
  Metaspace(const nlohmann::json& description, const char* where);

  std::string mark;
  Prepend prepend = Prepend::kAlways;
  bool split = true;  // before each mark
};

class MetaspaceStep final : public PreTokenizerStep {
 public:
  explicit MetaspaceStep(Metaspace options) : options_(std::move(options)) {}
  void split(std::string_view text, bool at_start, PieceSink sink) const override;

 private:
  Metaspace options_;
};

}  // namespace hedgehog

// `pre_tokenizer` of tokenizer.json: cuts text into the words that the model's tokens don't cross.
#pragma once

#include "hedgehog/tokenizer/pre_tokenizer_step.h"

#include <nlohmann/json.hpp>

#include <memory>
#include <string_view>
#include <vector>

namespace hedgehog {

class PreTokenizer {
 public:
  /// Knows ByteLevel, Split, Digits, BertPreTokenizer, WhitespaceSplit, Metaspace and Sequence; null leaves the text whole.
  /// Nothing may follow ByteLevel. Throws Error that names any other kind.
  explicit PreTokenizer(const nlohmann::json& description);
  /// The words are bytes to be spelled in byte-level BPE's alphabet. They are still the text's own here.
  bool has_byte_level() const { return has_byte_level_; }
  /// The pieces in order, none empty. `at_start`: the text that is being encoded begins with `text`.
  void split(std::string_view text, bool at_start, PieceSink sink) const { run(0, text, at_start, sink); }

 private:
  void run(std::size_t step, std::string_view text, bool at_start, PieceSink sink) const;
  void add(const nlohmann::json& description, int depth);

  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
  bool has_byte_level_ = false;
};

}  // namespace hedgehog

// Text to token ids and back. Byte-level BPE from tokenizer.json or GGUF metadata; equal to Hugging Face's `tokenizers`.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Special tokens written in the text are recognised, as `tokenizers` does. `add_special` applies the post-processor (bos,
  /// ...). Broken UTF-8 is replaced as Python's bytes.decode("utf-8", "replace") does.
  virtual std::vector<std::int32_t> encode(std::string_view text, bool add_special = false) const = 0;
  /// The bytes of the tokens, special tokens included unless `skip_special`. May end inside a UTF-8 character.
  virtual std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const = 0;
  virtual std::optional<std::int32_t> token_to_id(std::string_view token) const = 0;
  virtual std::int64_t vocabulary_size() const = 0;
  /// Ids at which generation stops (eos, and the chat template's end of turn).
  virtual const std::vector<std::int32_t>& end_tokens() const = 0;
  virtual std::optional<std::int32_t> begin_token() const = 0;
  /// What chat templates call bos_token and eos_token, as transformers gives them: tokenizer_config.json's where there is one,
  /// else the text of begin_token() and of the first of end_tokens(). "" for none.
  virtual std::string begin_text() const;
  virtual std::string end_text() const;
};

/// Throws Error for a tokenizer of a kind that is not known, or a damaged one.
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerSource& source);

/// Writes tokenizer.json and tokenizer_config.json into `directory`, also for a source that came from GGUF, such that
/// `tokenizers` loads them with equal results.
void write_tokenizer(const TokenizerSource& source, const std::filesystem::path& directory);

}  // namespace hedgehog

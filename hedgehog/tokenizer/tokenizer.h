// Text to token ids and back: byte-level BPE, WordPiece and SentencePiece, from tokenizer.json, tokenizer.model, vocab.txt or
// GGUF metadata; equal to Hugging Face's `tokenizers` and transformers.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/tokenizer/post_processor.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

/// One text or a pair of texts with the special tokens around them, as models of the BERT family take it.
struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> types;  // of each id: what BERT calls token_type_ids
};

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
  /// What encode_text() and encode_pair() put around texts; nothing by default.
  virtual const PostProcessor& post_processor() const;

  /// encode(text, true) with types. More than `max_length` ids in all are avoided by leaving out the text's last ones; 0: no
  /// limit. A `truncation` that tokenizer.json names is not applied. Throws Error if the special tokens alone are more.
  Encoding encode_text(std::string_view text, std::int64_t max_length = 0) const;
  /// Two texts in one sequence, cut to `max_length` ids as `tokenizers` does with the strategy "longest_first". Throws Error if
  /// the tokenizer knows no pairs.
  Encoding encode_pair(std::string_view first, std::string_view second, std::int64_t max_length = 0) const;
  /// What `id` adds to a text whose last token was `previous`: for a text that is shown as it is written. Tokenizers that put
  /// blanks between tokens, or take the first one away, decode a token by itself otherwise.
  std::string decode_next(std::optional<std::int32_t> previous, std::int32_t id, bool skip_special = false) const;
};

/// Throws Error for a tokenizer of a kind that is not known, or a damaged one.
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerSource& source);

/// Writes the tokenizer's files, such that make_tokenizer and the reference libraries load them with equal results:
/// tokenizer_config.json, and tokenizer.model or vocab.txt if the source has it (also one from GGUF), else tokenizer.json.
void write_tokenizer(const TokenizerSource& source, const std::filesystem::path& directory);

}  // namespace hedgehog

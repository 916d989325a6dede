// Byte-pair encoding: a word's bytes or characters become symbols, and ranked merges join them. Two kinds of files: byte-level
// BPE (GPT-2, Llama 3, Qwen), whose vocabulary spells bytes in an alphabet of 256 characters, and SentencePiece's BPE as
// tokenizer.json writes it (Llama 2, Gemma), whose vocabulary spells characters, U+2581 for a blank, with <0xHH> for the bytes
// of others.
#pragma once

#include "hedgehog/tokenizer/merge_table.h"
#include "hedgehog/tokenizer/token_model.h"

#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

enum class BpeSymbols { kBytes, kCharacters };

class Bpe final : public TokenModel {
 public:
  /// From `model` of tokenizer.json. Throws Error for another type and for options that neither kind has.
  Bpe(const nlohmann::json& model, BpeSymbols symbols);

  void encode_word(std::string_view word, std::vector<std::int32_t>& ids) const override;
  const TokenMap& vocabulary() const override { return vocabulary_; }

 private:
  void read_byte_ids(bool byte_fallback);
  void read_unknown(const nlohmann::json& model);
  void read_merges(const nlohmann::json& model);
  void read_whole_words();
  void encode_part(std::string_view word, std::vector<std::int32_t>& ids) const;
  void encode_uncached(std::string_view word, std::vector<std::int32_t>& ids) const;
  void bytes_to_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const;
  void characters_to_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const;

  BpeSymbols symbols_;
  TokenMap vocabulary_;
  std::array<std::int32_t, 256> byte_ids_;  // -1: the vocabulary lacks the byte, or characters don't fall back to bytes
  std::optional<std::int32_t> unknown_;
  bool fuse_unknown_ = false;
  std::optional<TokenMap> whole_words_;  // by what a word holds; there if ignore_merges: a word in the vocabulary is one token
  MergeTable merges_{0};
  bool cut_at_blanks_ = false;  // no token reaches over the border before U+2581, so that each part is a word of its own
  std::uint32_t cache_owner_;
};

}  // namespace hedgehog

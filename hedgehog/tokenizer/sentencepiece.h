// The model of a SentencePiece tokenizer, run by the sentencepiece library.
#pragma once

#include "hedgehog/tokenizer/sentencepiece_model.h"
#include "hedgehog/tokenizer/token_model.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace hedgehog {

class SentencePiece final : public TokenModel {
 public:
  /// `model` has passed check_sentencepiece_model. Throws Error if the library doesn't take it.
  explicit SentencePiece(const SentencePieceModel& model);
  ~SentencePiece() override;

  /// A stretch of text, normalized as the model says.
  void encode_word(std::string_view text, std::vector<std::int32_t>& ids) const override;
  const TokenMap& vocabulary() const override { return vocabulary_; }

 private:
  void encode_part(std::string_view text, std::vector<std::int32_t>& ids) const;

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  TokenMap vocabulary_;
  bool cut_at_blanks_ = false;  // no piece reaches over the border before U+2581, so that each part is a text of its own
  std::uint32_t cache_owner_;
};

}  // namespace hedgehog

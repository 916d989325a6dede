// The pipeline of tokenizer.json: added tokens, normalizer, pre-tokenizer, model, post-processor; and back by the decoder.
#pragma once

#include "hedgehog/tokenizer/added_tokens.h"
#include "hedgehog/tokenizer/border_tokens.h"
#include "hedgehog/tokenizer/decoder.h"
#include "hedgehog/tokenizer/normalizer.h"
#include "hedgehog/tokenizer/post_processor.h"
#include "hedgehog/tokenizer/pre_tokenizer.h"
#include "hedgehog/tokenizer/token_model.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hedgehog {

class PipelineTokenizer final : public Tokenizer {
 public:
  /// `description` is a tokenizer.json. Throws Error that names the part that is damaged or not known.
  PipelineTokenizer(const nlohmann::json& description, const TokenizerSource& source);
  /// As above, with another model than the description's.
  PipelineTokenizer(const nlohmann::json& description, std::unique_ptr<const TokenModel> model, const TokenizerSource& source);

  std::vector<std::int32_t> encode(std::string_view text, bool add_special) const override;
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const override;
  std::optional<std::int32_t> token_to_id(std::string_view token) const override;
  std::int64_t vocabulary_size() const override { return static_cast<std::int64_t>(tokens_.size()); }
  const std::vector<std::int32_t>& end_tokens() const override { return borders_.end; }
  std::optional<std::int32_t> begin_token() const override { return borders_.begin; }
  std::string begin_text() const override { return borders_.begin_text; }
  std::string end_text() const override { return borders_.end_text; }
  const PostProcessor& post_processor() const override { return post_processor_; }

 private:
  struct TokenText {
    std::uint32_t offset = 0, size = 0;
    bool exists = false, special = false;
  };
  PipelineTokenizer(const nlohmann::json& description, PreTokenizer pre_tokenizer, std::unique_ptr<const TokenModel> model,
                    const TokenizerSource& source);
  void append_ids(std::string_view text, std::vector<std::int32_t>& ids) const;
  void set_text(std::int32_t id, const std::string& text);
  void fill_table();

  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const TokenModel> model_;
  Normalizer normalizer_;
  PostProcessor post_processor_;
  Decoder decoder_;
  std::vector<AddedToken> added_;
  AddedTokenMatcher plain_matcher_, normalized_matcher_;
  std::string texts_;              // of all tokens; of byte-level BPE the bytes
  std::vector<TokenText> tokens_;  // by id
  BorderTokens borders_;
};

}  // namespace hedgehog

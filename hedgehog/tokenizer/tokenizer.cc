// What all tokenizers share, and the choice of one.
#include "hedgehog/tokenizer/tokenizer.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/gguf_tokenizer.h"
#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/pipeline_tokenizer.h"
#include "hedgehog/tokenizer/sentencepiece.h"
#include "hedgehog/tokenizer/sentencepiece_tokenizer.h"
#include "hedgehog/tokenizer/truncation.h"
#include "hedgehog/tokenizer/word_piece_file.h"

#include <algorithm>
#include <array>

namespace hedgehog {
namespace {

Encoding assemble(const std::vector<PostProcessor::Piece>& pieces, const std::array<std::span<const std::int32_t>, 2>& texts) {
  Encoding result;
  for (const PostProcessor::Piece& piece : pieces) {
    const std::span<const std::int32_t> ids =
        piece.text < 0 ? std::span(piece.ids) : texts[static_cast<std::size_t>(piece.text)];
    result.ids.insert(result.ids.end(), ids.begin(), ids.end());
    result.types.resize(result.ids.size(), piece.type);
  }
  return result;
}

// How many ids the texts may have together.
std::int64_t room(const std::vector<PostProcessor::Piece>& pieces, std::int64_t max_length) {
  check(max_length >= 0, "a text of at most {} tokens: expected a count, or 0 for no limit", max_length);
  const std::int64_t special = PostProcessor::added(pieces);
  check(max_length == 0 || special <= max_length, "a text of at most {} tokens is too short for the {} special tokens in it",
        max_length, special);
  return max_length == 0 ? INT64_MAX : max_length - special;
}

}  // namespace

std::string Tokenizer::begin_text() const {
  const std::optional<std::int32_t> begin = begin_token();
  return begin ? decode(std::span(&*begin, 1)) : "";
}

std::string Tokenizer::end_text() const {
  return end_tokens().empty() ? "" : decode(std::span(end_tokens()).first(1));
}

const PostProcessor& Tokenizer::post_processor() const {
  static const PostProcessor nothing;
  return nothing;
}

Encoding Tokenizer::encode_text(std::string_view text, std::int64_t max_length) const {
  const std::vector<PostProcessor::Piece>& pieces = post_processor().single;
  const std::int64_t limit = room(pieces, max_length);
  const std::vector<std::int32_t> ids = encode(text);
  return assemble(pieces, {std::span(ids).first(static_cast<std::size_t>(std::min(std::ssize(ids), limit))), {}});
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second, std::int64_t max_length) const {
  const std::vector<PostProcessor::Piece>& pieces = post_processor().pair;
  check(!pieces.empty(), "the tokenizer has no template for a pair of texts");
  const std::int64_t limit = room(pieces, max_length);
  const std::vector<std::int32_t> one = encode(first), two = encode(second);
  const auto [kept_one, kept_two] = longest_first(std::ssize(one), std::ssize(two), limit);
  return assemble(pieces, {std::span(one).first(static_cast<std::size_t>(kept_one)),
                           std::span(two).first(static_cast<std::size_t>(kept_two))});
}

std::string Tokenizer::decode_next(std::optional<std::int32_t> previous, std::int32_t id, bool skip_special) const {
  if (!previous) {
    return decode(std::span(&id, 1), skip_special);
  }
  const std::array<std::int32_t, 2> both = {*previous, id};
  const std::string before = decode(std::span(both).first(1), skip_special), after = decode(both, skip_special);
  return after.substr(std::min(before.size(), after.size()));
}

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerSource& source) {
  try {
    if (is_sentencepiece(source)) {
      const SentencePieceTokenizer read = read_sentencepiece_tokenizer(source);
      return std::make_unique<PipelineTokenizer>(read.description, std::make_unique<SentencePiece>(read.model), source);
    }
    return std::make_unique<PipelineTokenizer>(tokenizer_json_of(source), source);
  } catch (const nlohmann::json::exception& error) {
    fail("tokenizer.json: {}", error.what());
  }
}

}  // namespace hedgehog

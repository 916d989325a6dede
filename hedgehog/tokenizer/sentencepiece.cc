#include "hedgehog/tokenizer/sentencepiece.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/unicode.h"
#include "hedgehog/tokenizer/word_cache.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <string>

namespace hedgehog {
namespace {

constexpr std::size_t kLongestText = std::size_t{1} << 28;  // the library counts in int, and takes 30 bytes for each of text

// Whether the pairs that BPE merges never reach over the border before a U+2581, whatever the text. A unigram model's sum of
// scores rounds differently for parts, so that only BPE is cut.
bool can_be_cut(const SentencePieceModel& model) {
  if (!model.is_bpe || !model.leaves_text_alone() || model.adds_dummy_prefix) {
    return false;
  }
  bool mark_is_known = model.byte_fallback;  // else unknown characters on both sides of the border would become one token
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    const bool matches = piece.type == SentencePieceModel::kNormal || piece.type == SentencePieceModel::kUserDefined ||
                         piece.type == SentencePieceModel::kUnused;
    if (matches && marked_word_end(piece.text, 0) != piece.text.size()) {
      return false;
    }
    mark_is_known = mark_is_known || (piece.type == SentencePieceModel::kNormal && piece.text == kSpaceMark);
  }
  return mark_is_known;
}

}  // namespace

SentencePiece::SentencePiece(const SentencePieceModel& model)
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()),
      cut_at_blanks_(can_be_cut(model)),
      cache_owner_(WordCache::new_owner()) {
  try {
    const auto status = processor_->LoadFromSerializedProto(write_sentencepiece_model(model));
    check(status.ok(), "the SentencePiece model: {}", status.error_message());
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail("the SentencePiece model: {}", error.what());
  }
  vocabulary_.reserve(model.pieces.size());
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    vocabulary_.emplace(model.pieces[id].text, static_cast<std::int32_t>(id));
  }
}

SentencePiece::~SentencePiece() = default;

void SentencePiece::encode_word(std::string_view text, std::vector<std::int32_t>& ids) const {
  if (!cut_at_blanks_) {
    encode_part(text, ids);
    return;
  }
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = marked_word_end(text, begin);
    WordCache::encode(text.substr(begin, end - begin), cache_owner_, ids,
                      [this](std::string_view uncached, std::vector<std::int32_t>& to) { encode_part(uncached, to); });
    begin = end;
  }
}

void SentencePiece::encode_part(std::string_view text, std::vector<std::int32_t>& ids) const {
  check(text.size() <= kLongestText, "a text of {} bytes is too long for SentencePiece, which takes {}", text.size(),
        kLongestText);
  std::vector<int> found;
  const auto status = processor_->Encode({text.data(), text.size()}, &found);
  check(status.ok(), "SentencePiece, on a text of {} bytes: {}", text.size(), status.error_message());
  ids.insert(ids.end(), found.begin(), found.end());
}

}  // namespace hedgehog

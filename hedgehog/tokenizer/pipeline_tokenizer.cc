#include "hedgehog/tokenizer/pipeline_tokenizer.h"

#include "hedgehog/tokenizer/bpe.h"
#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/unicode.h"
#include "hedgehog/tokenizer/word_piece.h"

#include <algorithm>
#include <set>
#include <utility>

namespace hedgehog {
namespace {

using nlohmann::json;

const json& part_of(const json& description, const char* name) {
  static const json none;
  const json* part = optional_field(description, name);
  return part == nullptr ? none : *part;
}

std::unique_ptr<const TokenModel> read_model(const json& description, bool byte_level) {
  const json& model = field(description, "model", "the file");
  check(model.is_object(), "tokenizer.json: 'model' should be an object, found {}", model.type_name());
  // Files of before 2020 leave the type out.
  const std::string type = model.contains("type")                       ? string_field(model, "type", "model")
                           : model.contains("max_input_chars_per_word") ? "WordPiece"
                                                                        : "BPE";
  if (type == "WordPiece") {
    check(!byte_level, "tokenizer.json: a ByteLevel pre-tokenizer before WordPiece is not known");
    return std::make_unique<WordPiece>(model);
  }
  check(type == "BPE", "tokenizer.json: unknown model '{}': BPE and WordPiece are known", type.substr(0, 80));
  return std::make_unique<Bpe>(model, byte_level ? BpeSymbols::kBytes : BpeSymbols::kCharacters);
}

}  // namespace

PipelineTokenizer::PipelineTokenizer(const json& description, const TokenizerSource& source)
    : PipelineTokenizer(description, nullptr, source) {}

PipelineTokenizer::PipelineTokenizer(const json& description, std::unique_ptr<const TokenModel> model,
                                     const TokenizerSource& source)
    : PipelineTokenizer(description, PreTokenizer(part_of(description, "pre_tokenizer")), std::move(model), source) {}

PipelineTokenizer::PipelineTokenizer(const json& description, PreTokenizer pre_tokenizer,
                                     std::unique_ptr<const TokenModel> model, const TokenizerSource& source)
    : pre_tokenizer_(std::move(pre_tokenizer)),
      model_(model ? std::move(model) : read_model(description, pre_tokenizer_.has_byte_level())),
      normalizer_(part_of(description, "normalizer")),
      post_processor_(read_post_processor(part_of(description, "post_processor"))),
      decoder_(part_of(description, "decoder")),
      added_(read_added_tokens(part_of(description, "added_tokens"), model_->vocabulary())),
      plain_matcher_(make_matcher(added_, false, normalizer_)),
      normalized_matcher_(make_matcher(added_, true, normalizer_)) {
  fill_table();
  borders_ = find_border_tokens(
      source, added_, [this](std::string_view token) { return token_to_id(token); }, vocabulary_size());
  if (!borders_.named) {
    borders_.begin_text = Tokenizer::begin_text();
    borders_.end_text = Tokenizer::end_text();
  }
}

std::vector<std::int32_t> PipelineTokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  if (!add_special) {
    append_ids(text, ids);
    return ids;
  }
  for (const PostProcessor::Piece& piece : post_processor_.single) {
    if (piece.text < 0) {
      ids.insert(ids.end(), piece.ids.begin(), piece.ids.end());
    } else {
      append_ids(text, ids);
    }
  }
  return ids;
}

void PipelineTokenizer::append_ids(std::string_view text, std::vector<std::int32_t>& ids) const {
  std::string clean_buffer, normal_buffer;
  bool at_start = true;  // until something has been passed
  const auto add_id = [&](std::int32_t id) {
    ids.push_back(id);
    at_start = false;
  };
  auto add_word = [&](std::string_view word) { model_->encode_word(word, ids); };
  const auto add_words = [&](std::string_view segment) {
    pre_tokenizer_.split(segment, at_start, add_word);
    at_start = false;
  };
  const auto add_segment = [&](std::string_view segment) {
    normalized_matcher_.split(normalizer_.apply(segment, normal_buffer), add_words, add_id);
  };
  plain_matcher_.split(replace_broken_utf8(text, clean_buffer), add_segment, add_id);
}

std::string PipelineTokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string bytes;
  std::vector<std::string> texts;
  for (const std::int32_t id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= tokens_.size() || !tokens_[id].exists ||
        (skip_special && tokens_[id].special)) {
      continue;
    }
    if (decoder_.is_byte_level()) {
      bytes.append(texts_, tokens_[id].offset, tokens_[id].size);
    } else {
      texts.emplace_back(texts_, tokens_[id].offset, tokens_[id].size);
    }
  }
  return decoder_.is_byte_level() ? bytes : decoder_.decode(std::move(texts));
}

std::optional<std::int32_t> PipelineTokenizer::token_to_id(std::string_view token) const {
  for (const AddedToken& added : added_) {
    if (added.content == token) {
      return added.id;
    }
  }
  const auto found = model_->vocabulary().find(token);
  return found == model_->vocabulary().end() ? std::nullopt : std::optional(found->second);
}

void PipelineTokenizer::set_text(std::int32_t id, const std::string& text) {
  const std::string stored = decoder_.is_byte_level() ? token_text_to_bytes(text) : text;
  check(texts_.size() + stored.size() <= 0xFFFFFFFF, "tokenizer.json: the vocabulary is larger than 4 GiB");
  tokens_[id] = {static_cast<std::uint32_t>(texts_.size()), static_cast<std::uint32_t>(stored.size()), true, false};
  texts_ += stored;
}

void PipelineTokenizer::fill_table() {
  std::int32_t last = -1;
  for (const auto& [text, id] : model_->vocabulary()) {
    last = std::max(last, id);
  }
  for (const AddedToken& token : added_) {
    last = std::max(last, token.id);
  }
  tokens_.resize(static_cast<std::size_t>(last) + 1);
  for (const auto& [text, id] : model_->vocabulary()) {
    set_text(id, text);
  }
  std::set<std::string> specials;
  for (const AddedToken& token : added_) {
    if (token.special) {
      specials.insert(token.content);
    }
  }
  // The library decodes a normalized token to its normalized content, and asks for that among the special ones.
  for (const AddedToken& token : added_) {
    std::string buffer;
    const std::string text(token.normalized ? normalizer_.apply(token.content, buffer) : std::string_view(token.content));
    set_text(token.id, text);
    tokens_[token.id].special = specials.contains(text);
  }
}

}  // namespace hedgehog

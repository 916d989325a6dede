#include "hedgehog/tokenizer/sentencepiece_tokenizer.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/added_tokens.h"
#include "hedgehog/tokenizer/tokenizer_config.h"
#include "hedgehog/tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace hedgehog {
namespace {

using nlohmann::json;

SentencePieceModel gguf_model(const TokenizerSource& source) {
  SentencePieceModel model;
  check(source.gguf_token_types.size() == source.gguf_tokens.size() && source.gguf_scores.size() == source.gguf_tokens.size(),
        "GGUF: {} tokens with {} token types and {} scores", source.gguf_tokens.size(), source.gguf_token_types.size(),
        source.gguf_scores.size());
  model.is_bpe = true;
  model.removes_extra_blanks = false;
  for (std::size_t id = 0; id < source.gguf_tokens.size(); ++id) {
    const std::int32_t type = source.gguf_token_types[id];
    check(type >= SentencePieceModel::kNormal && type <= SentencePieceModel::kByte, "GGUF: token {} is of unknown type {}", id,
          type);
    model.pieces.push_back({source.gguf_tokens[id], source.gguf_scores[id], static_cast<SentencePieceModel::Type>(type)});
    model.byte_fallback = model.byte_fallback || type == SentencePieceModel::kByte;
  }
  check_sentencepiece_model(model, "GGUF");
  return model;
}

// Other classes add and move ids (T5, XLM-R, CamemBERT, MBart), or write text in another way.
void check_class(const TokenizerSource& source) {
  static constexpr std::array<std::string_view, 6> kKnown = {
      "", "LlamaTokenizer", "LlamaTokenizerFast", "TokenizersBackend", "PreTrainedTokenizerFast", "PreTrainedTokenizer"};
  const std::string name = configured_token(source.tokenizer_config, "tokenizer_class");
  check(
      std::find(kKnown.begin(), kKnown.end(), name) != kKnown.end(),
      "tokenizer_config.json: a tokenizer.model of a '{}' is not known, a LlamaTokenizer's is; use the model's tokenizer.json",
      name.substr(0, 80));
}

json special_token(const std::string& content, int type) {
  return {{"SpecialToken", {{"id", content}, {"type_id", type}}}};
}

json text_piece(const char* id, int type) {
  return {{"Sequence", {{"id", id}, {"type_id", type}}}};
}

json post_processor_of(const std::string& begin, const std::string& end, const std::vector<AddedToken>& added) {
  if (begin.empty() && end.empty()) {
    return nullptr;
  }
  json table = json::object(), single = json::array(), pair = json::array();
  const auto add = [&](const std::string& content, int type, json& pieces) {
    if (content.empty()) {
      return;
    }
    const auto token = std::find_if(added.begin(), added.end(), [&](const AddedToken& t) { return t.content == content; });
    check(token != added.end(), "tokenizer_config.json: '{}' is no token of the tokenizer", content.substr(0, 80));
    table[content] = {{"id", content}, {"ids", json::array({token->id})}, {"tokens", json::array({content})}};
    pieces.push_back(special_token(content, type));
  };
  for (int text = 0; text < 2; ++text) {
    add(begin, text, pair);
    pair.push_back(text_piece(text == 0 ? "A" : "B", text));
    add(end, text, pair);
    if (text == 0) {
      single = pair;
    }
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", table}};
}

json decoder_of(bool strips_first_blank) {
  json steps = {{{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}},
                {{"type", "ByteFallback"}},
                {{"type", "Fuse"}}};
  if (strips_first_blank) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace

bool is_sentencepiece(const TokenizerSource& source) {
  return !source.tokenizer_json && (source.sentencepiece_model || (!source.word_pieces && source.gguf_model == "llama"));
}

SentencePieceModel sentencepiece_model_of(const TokenizerSource& source) {
  return source.sentencepiece_model ? read_sentencepiece_model(*source.sentencepiece_model) : gguf_model(source);
}

SentencePieceTokenizer read_sentencepiece_tokenizer(const TokenizerSource& source) {
  check_class(source);
  const json& config = source.tokenizer_config;
  SentencePieceTokenizer result;
  result.model = sentencepiece_model_of(source);
  TokenMap vocabulary;
  json pieces = json::array();
  for (std::size_t id = 0; id < result.model.pieces.size(); ++id) {
    const SentencePieceModel::Piece& piece = result.model.pieces[id];
    vocabulary.emplace(piece.text, static_cast<std::int32_t>(id));
    if (piece.type == SentencePieceModel::kControl || piece.type == SentencePieceModel::kUserDefined ||
        piece.type == SentencePieceModel::kUnknown) {
      pieces.push_back(added_token(piece.text, piece.type != SentencePieceModel::kUserDefined));
    }
  }
  const std::string begin = configured_token(config, "bos_token", "<s>"), end = configured_token(config, "eos_token", "</s>");
  const std::array<std::string, 4> special = {begin, end, configured_token(config, "unk_token", "<unk>"),
                                              configured_token(config, "pad_token")};
  const json added = with_configured_tokens(std::move(pieces), config, special, vocabulary);
  bool prefix = configured_flag(config, "add_prefix_space", true);
  json pre_tokenizer;
  if (result.model.is_bpe && result.model.leaves_text_alone()) {
    result.model.adds_dummy_prefix = false;  // the pre-tokenizer does it
    const bool everywhere = configured_flag(config, "legacy", false);
    pre_tokenizer = {{"type", "Metaspace"},
                     {"replacement", kSpaceMark},
                     {"prepend_scheme", !prefix      ? "never"
                                        : everywhere ? "always"
                                                     : "first"},
                     {"split", false}};
  } else {
    prefix = result.model.adds_dummy_prefix && !result.model.blanks_as_suffix;
  }
  result.description = {{"added_tokens", added},
                        {"pre_tokenizer", pre_tokenizer},
                        {"post_processor", post_processor_of(configured_flag(config, "add_bos_token", true) ? begin : "",
                                                             configured_flag(config, "add_eos_token", false) ? end : "",
                                                             read_added_tokens(added, vocabulary))},
                        {"decoder", decoder_of(prefix)}};
  return result;
}

}  // namespace hedgehog

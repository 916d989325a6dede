#include "hedgehog/tokenizer/word_piece_file.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/tokenizer_config.h"
#include "hedgehog/tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace hedgehog {
namespace {

using nlohmann::json;

TokenMap read_lines(std::string_view text) {
  TokenMap vocabulary;
  std::int32_t line = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view token = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (token.ends_with('\r')) {
      token.remove_suffix(1);
    }
    check(valid_utf8_prefix(token) == token.size(), "vocab.txt: line {} is not UTF-8", line + 1);
    const auto [entry, inserted] = vocabulary.emplace(token, line);
    check(inserted, "vocab.txt: line {} is the same as line {}, '{}'", line + 1, entry->second + 1, token.substr(0, 80));
    ++line;
  }
  check(!vocabulary.empty(), "vocab.txt: is empty");
  return vocabulary;
}

void check_class(const json& config) {
  static constexpr std::array<std::string_view, 9> kKnown = {
      "BertTokenizer",           "BertTokenizerFast",       "DistilBertTokenizer",
      "DistilBertTokenizerFast", "ElectraTokenizer",        "ElectraTokenizerFast",
      "TokenizersBackend",       "PreTrainedTokenizerFast", ""};
  const std::string name = configured_token(config, "tokenizer_class");
  check(std::find(kKnown.begin(), kKnown.end(), name) != kKnown.end(),
        "tokenizer_config.json: a vocab.txt of a '{}' is not known, a BertTokenizer's is; use the model's tokenizer.json",
        name.substr(0, 80));
}

json special(const std::string& content, int type) {
  return {{"SpecialToken", {{"id", content}, {"type_id", type}}}};
}

json text(const char* id, int type) {
  return {{"Sequence", {{"id", id}, {"type_id", type}}}};
}

}  // namespace

json word_piece_tokenizer_json(const TokenizerSource& source) {
  const json& config = source.tokenizer_config;
  check_class(config);
  const TokenMap vocabulary = read_lines(*source.word_pieces);
  const auto named = [&](const char* name, const char* otherwise) {
    std::string token = configured_token(config, name, otherwise);
    check(!token.empty() && vocabulary.contains(token),
          "vocab.txt: the token '{}', which tokenizer_config.json calls {}, is missing", token.substr(0, 80), name);
    return token;
  };
  const std::string unknown = named("unk_token", "[UNK]"), begin = named("cls_token", "[CLS]"),
                    end = named("sep_token", "[SEP]");
  const std::array<std::string, 5> specials = {unknown, end, configured_token(config, "pad_token", "[PAD]"), begin,
                                               configured_token(config, "mask_token", "[MASK]")};
  const bool lowercase = configured_flag(config, "do_lower_case", true);
  const json special_tokens = {
      {begin, {{"id", begin}, {"ids", json::array({vocabulary.find(begin)->second})}, {"tokens", json::array({begin})}}},
      {end, {{"id", end}, {"ids", json::array({vocabulary.find(end)->second})}, {"tokens", json::array({end})}}}};
  json tokens = json::object();
  for (const auto& [token, id] : vocabulary) {
    tokens.emplace(token, id);
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", with_configured_tokens(json::array(), config, specials, vocabulary)},
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", configured_flag(config, "tokenize_chinese_chars", true)},
            {"strip_accents", configured_flag(config, "strip_accents", lowercase)},
            {"lowercase", lowercase}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", {special(begin, 0), text("A", 0), special(end, 0)}},
            {"pair", {special(begin, 0), text("A", 0), special(end, 0), text("B", 1), special(end, 1)}},
            {"special_tokens", special_tokens}}},
          {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", unknown},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 100},
            {"vocab", tokens}}}};
}

}  // namespace hedgehog

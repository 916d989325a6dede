// GGUF keeps the vocabulary and merges of byte-level BPE as they were, and of the rest a single name, `tokenizer.ggml.pre`. The
// table here says what each name stands for.
#include "hedgehog/tokenizer/gguf_tokenizer.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/scanner.h"
#include "hedgehog/tokenizer/unicode.h"
#include "hedgehog/tokenizer/word_piece_file.h"

#include <algorithm>
#include <unordered_map>

namespace hedgehog {
namespace {

using nlohmann::json;

constexpr int kControl = 3;
constexpr int kUserDefined = 4;

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json isolate(std::string_view regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

json sequence(std::vector<json> steps) {
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

struct Kind {
  json normalizer, pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;
};

Kind kind_of(const std::string& name) {
  if (name == "gpt-2" || name == "gpt2") {
    return {nullptr, byte_level(true)};
  }
  if (name == "smollm" || name == "starcoder" || name == "refact" || name == "command-r") {
    return {nullptr, sequence({{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)})};
  }
  if (name == "llama-bpe" || name == "llama3" || name == "llama-v3") {
    return {nullptr, sequence({isolate(known_pattern_regex(KnownPattern::kLlama3)), byte_level(false)}), true, true};
  }
  if (name == "qwen2") {
    return {{{"type", "NFC"}}, sequence({isolate(known_pattern_regex(KnownPattern::kQwen2)), byte_level(false)})};
  }
  if (name == "default" || name.empty()) {
    return {nullptr, sequence({isolate(R"([\p{P}\$\+<=>\^~\|]+)"),
                               isolate(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))"),
                               isolate(R"(\p{N}+)"), isolate("[0-9][0-9][0-9]"), byte_level(false)})};
  }
  fail(
      "GGUF: unknown pre-tokenizer '{}' (tokenizer.ggml.pre): known are smollm, llama-bpe, gpt-2, qwen2 and default; "
      "use the model's Hugging Face directory with its tokenizer.json instead",
      name);
}

const std::string& token_text(const TokenizerSource& source, std::int64_t id, const char* what) {
  check(id >= 0 && static_cast<std::size_t>(id) < source.gguf_tokens.size(), "GGUF: {} is token {}, of {} tokens", what, id,
        source.gguf_tokens.size());
  return source.gguf_tokens[static_cast<std::size_t>(id)];
}

bool adds_bos(const TokenizerSource& source, const Kind& kind) {
  if (!source.bos) {
    return false;
  }
  const auto found = source.tokenizer_config.find("add_bos_token");
  return found != source.tokenizer_config.end() && found->is_boolean() ? found->get<bool>() : kind.add_bos;
}

json post_processor_of(const TokenizerSource& source, const Kind& kind) {
  const json byte_level_offsets = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
  if (!adds_bos(source, kind)) {
    return byte_level_offsets;
  }
  const std::string& bos = token_text(source, *source.bos, "the bos token");
  const json special = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const auto text = [](const char* id, int type) { return json{{"Sequence", {{"id", id}, {"type_id", type}}}}; };
  const json special_second = {{"SpecialToken", {{"id", bos}, {"type_id", 1}}}};
  json table = json::object();
  table[bos] = {{"id", bos}, {"ids", json::array({*source.bos})}, {"tokens", json::array({bos})}};
  const json processing = {{"type", "TemplateProcessing"},
                           {"single", {special, text("A", 0)}},
                           {"pair", {special, text("A", 0), special_second, text("B", 1)}},
                           {"special_tokens", table}};
  return {{"type", "Sequence"}, {"processors", {byte_level_offsets, processing}}};
}

json vocabulary_of(const TokenizerSource& source) {
  json vocabulary = json::object();
  for (std::size_t id = 0; id < source.gguf_tokens.size(); ++id) {
    const std::string& token = source.gguf_tokens[id];
    check(valid_utf8_prefix(token) == token.size(), "GGUF: token {} is not UTF-8", id);
    check(vocabulary.emplace(token, id).second, "GGUF: token {} is the same as an earlier one, '{}'", id, token.substr(0, 80));
  }
  return vocabulary;
}

json added_tokens_of(const TokenizerSource& source) {
  json added = json::array();
  for (std::size_t id = 0; id < source.gguf_token_types.size(); ++id) {
    const std::int32_t type = source.gguf_token_types[id];
    if ((type == kControl || type == kUserDefined) && !source.gguf_tokens[id].empty()) {
      added.push_back({{"id", id},
                       {"content", source.gguf_tokens[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", type == kControl}});
    }
  }
  return added;
}

}  // namespace

json tokenizer_json_of(const TokenizerSource& source) {
  if (source.tokenizer_json) {
    return *source.tokenizer_json;
  }
  if (source.word_pieces) {
    return word_piece_tokenizer_json(source);
  }
  check(!source.gguf_tokens.empty(),
        "the model has no tokenizer: neither tokenizer.json, tokenizer.model, vocab.txt nor tokenizer.ggml.tokens is there");
  check(source.gguf_model == "gpt2",
        "GGUF: unknown tokenizer model '{}': byte-level BPE ('gpt2') and SentencePiece's BPE ('llama') are known",
        source.gguf_model);
  check(source.gguf_token_types.empty() || source.gguf_token_types.size() == source.gguf_tokens.size(),
        "GGUF: {} token types for {} tokens", source.gguf_token_types.size(), source.gguf_tokens.size());
  for (std::size_t i = 0; i < source.gguf_merges.size(); ++i) {
    check(valid_utf8_prefix(source.gguf_merges[i]) == source.gguf_merges[i].size(), "GGUF: merge {} is not UTF-8", i);
  }
  const Kind kind = kind_of(source.gguf_pretokenizer);
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens_of(source)},
          {"normalizer", kind.normalizer},
          {"pre_tokenizer", kind.pre_tokenizer},
          {"post_processor", post_processor_of(source, kind)},
          {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", kind.ignore_merges},
            {"vocab", vocabulary_of(source)},
            {"merges", source.gguf_merges}}}};
}

}  // namespace hedgehog

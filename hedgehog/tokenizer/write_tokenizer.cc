// A tokenizer's files: what the source has as a file is written as it was, the rest is made.
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/gguf_tokenizer.h"
#include "hedgehog/tokenizer/sentencepiece_tokenizer.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <string>
#include <utility>

namespace hedgehog {
namespace {

using nlohmann::json;

// tokenizer_config.json of the source, its chat template included.
json tokenizer_config_of(const TokenizerSource& source) {
  json config = source.tokenizer_config.is_object() ? source.tokenizer_config : json::object();
  if (is_sentencepiece(source)) {
    // What is not said is said: transformers does not always take what its documentation says.
    config.emplace("tokenizer_class", "LlamaTokenizer");
    config.emplace("add_bos_token", true);
    config.emplace("add_eos_token", false);
    config.emplace("legacy", false);
  }
  if (!source.tokenizer_json && !source.sentencepiece_model && !source.word_pieces) {
    config.emplace("tokenizer_class", "PreTrainedTokenizerFast");
    config.emplace("clean_up_tokenization_spaces", false);
    const std::pair<const char*, std::optional<std::int64_t>> names[] = {
        {"bos_token", source.bos}, {"eos_token", source.eos}, {"unk_token", source.unknown}, {"pad_token", source.padding}};
    for (const auto& [name, id] : names) {
      if (id) {
        check(*id >= 0 && static_cast<std::size_t>(*id) < source.gguf_tokens.size(), "GGUF: {} is token {}, of {} tokens", name,
              *id, source.gguf_tokens.size());
        config.emplace(name, source.gguf_tokens[static_cast<std::size_t>(*id)]);
      }
    }
  }
  if (!source.chat_template.empty()) {
    config["chat_template"] = source.chat_template;
  }
  return config;
}

}  // namespace

void write_tokenizer(const TokenizerSource& source, const std::filesystem::path& directory) {
  make_tokenizer(source);  // nothing is written that could not be read again
  if (is_sentencepiece(source)) {
    write_text_file(directory / "tokenizer.model", source.sentencepiece_model
                                                       ? *source.sentencepiece_model
                                                       : write_sentencepiece_model(sentencepiece_model_of(source)));
  } else if (!source.tokenizer_json && source.word_pieces) {
    write_text_file(directory / "vocab.txt", *source.word_pieces);
  } else {
    write_text_file(directory / "tokenizer.json", tokenizer_json_of(source).dump() + "\n");
  }
  write_text_file(directory / "tokenizer_config.json", tokenizer_config_of(source).dump(2) + "\n");
}

}  // namespace hedgehog

#include "hedgehog/checkpoint/huggingface_directory.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_cursor.h"
#include "hedgehog/checkpoint/json_file.h"
#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/checkpoint/sharded_safetensors.h"

#include <system_error>

namespace hedgehog {
namespace {

constexpr std::size_t kLargestConfig = std::size_t{4} << 20;
constexpr std::size_t kLargestTokenizerConfig = std::size_t{16} << 20;
constexpr std::size_t kLargestTokenizer = std::size_t{128} << 20;
constexpr std::size_t kLargestVocabulary = std::size_t{64} << 20;

// std::filesystem::exists throws where a path cannot be looked at; here that is the same as absence.
bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// "chat_template" is a string or a list of {"name", "template"}, of which "default" is meant.
std::string chat_template_of(const nlohmann::json& tokenizer_config) {
  const auto found = tokenizer_config.find("chat_template");
  if (found == tokenizer_config.end()) {
    return {};
  }
  if (found->is_string()) {
    return found->get<std::string>();
  }
  if (found->is_array()) {
    for (const nlohmann::json& item : *found) {
      if (item.is_object() && item.value("name", nlohmann::json()) == "default" && item.contains("template") &&
          item["template"].is_string()) {
        return item["template"].get<std::string>();
      }
    }
  }
  return {};
}

// config.json gives an id, or a list of ids of which the first counts.
std::optional<std::int64_t> token_id(const nlohmann::json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) {
    return std::nullopt;
  }
  const nlohmann::json& id = found->is_array() && !found->empty() ? found->front() : *found;
  return id.is_number_integer() ? std::optional(id.get<std::int64_t>()) : std::nullopt;
}

}  // namespace

TokenizerSource read_tokenizer_files(const std::filesystem::path& directory) {
  TokenizerSource source;
  source.tokenizer_config = nlohmann::json::object();
  if (const auto path = directory / "tokenizer.json"; is_there(path)) {
    source.tokenizer_json = read_json_object(path, kLargestTokenizer);
  } else if (const auto model = directory / "tokenizer.model"; is_there(model)) {
    source.sentencepiece_model = read_text_file(model, kLargestVocabulary);
  } else if (const auto words = directory / "vocab.txt"; is_there(words)) {
    source.word_pieces = read_text_file(words, kLargestVocabulary);
  }
  if (const auto path = directory / "tokenizer_config.json"; is_there(path)) {
    source.tokenizer_config = read_json_object(path, kLargestTokenizerConfig);
  }
  source.chat_template = chat_template_of(source.tokenizer_config);
  if (const auto path = directory / "chat_template.jinja"; is_there(path)) {
    source.chat_template = read_text_file(path, kLargestConfig);
    check(find_broken_utf8(source.chat_template) == std::string::npos, "{}: is not UTF-8", path.string());
  }
  return source;
}

Checkpoint open_huggingface_directory(const std::filesystem::path& directory) {
  const auto config_path = directory / "config.json";
  check(is_there(config_path),
        "{}: is not there: a model's directory holds config.json, *.safetensors and"
        " tokenizer.json",
        config_path.string());
  Checkpoint checkpoint;
  checkpoint.path = directory;
  checkpoint.format = "safetensors";
  checkpoint.config = read_json_object(config_path, kLargestConfig);
  const auto single = directory / "model.safetensors", index = directory / "model.safetensors.index.json";
  if (is_there(single)) {
    checkpoint.tensors = std::make_shared<SafetensorsFile>(single);
  } else {
    check(is_there(index), "{}: holds neither model.safetensors nor model.safetensors.index.json", directory.string());
    checkpoint.tensors = std::make_shared<ShardedSafetensors>(index);
  }
  checkpoint.tokenizer = read_tokenizer_files(directory);
  checkpoint.tokenizer.bos = token_id(checkpoint.config, "bos_token_id");
  checkpoint.tokenizer.eos = token_id(checkpoint.config, "eos_token_id");
  checkpoint.tokenizer.padding = token_id(checkpoint.config, "pad_token_id");
  return checkpoint;
}

}  // namespace hedgehog

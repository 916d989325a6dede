#include "hedgehog/tokenizer/tokenizer_config.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/added_tokens.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <vector>

namespace hedgehog {
namespace {

using nlohmann::json;

const json* find(const json& config, const char* name) {
  const auto found = config.is_object() ? config.find(name) : config.end();
  return found == config.end() ? nullptr : &*found;
}

// The entries of added_tokens_decoder, by id.
std::map<std::int64_t, json> added_tokens_decoder(const json& config) {
  std::map<std::int64_t, json> entries;
  const json* table = find(config, "added_tokens_decoder");
  if (table == nullptr || table->is_null()) {
    return entries;
  }
  check(table->is_object(), "tokenizer_config.json: added_tokens_decoder should be an object, found {}", table->type_name());
  for (const auto& [key, entry] : table->items()) {
    std::int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    check(error == std::errc() && end == key.data() + key.size() && id >= 0,
          "tokenizer_config.json: added_tokens_decoder: '{}' is no id", key.substr(0, 80));
    const json* content = find(entry, "content");
    check(content != nullptr && content->is_string() && !content->get_ref<const std::string&>().empty(),
          "tokenizer_config.json: added_tokens_decoder: {} has no 'content'", id);
    entries.emplace(id, entry);
  }
  return entries;
}

}  // namespace

std::string configured_token(const json& config, const char* name, const std::string& otherwise) {
  const json* value = find(config, name);
  if (value == nullptr) {
    return otherwise;
  }
  if (value->is_object()) {
    value = find(*value, "content");
  }
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

bool configured_flag(const json& config, const char* name, bool otherwise) {
  const json* value = find(config, name);
  if (value == nullptr || value->is_null()) {
    return otherwise;
  }
  check(value->is_boolean(), "tokenizer_config.json: '{}' should be true or false, found {}", name, value->type_name());
  return value->get<bool>();
}

json added_token(const std::string& content, bool special) {
  return {{"id", 0},         {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

json with_configured_tokens(json tokens, const json& config, std::span<const std::string> special, const TokenMap& vocabulary) {
  const std::map<std::int64_t, json> configured = added_tokens_decoder(config);
  for (const auto& [id, entry] : configured) {
    tokens.push_back(entry);
  }
  for (const std::string& content : special) {
    const bool there =
        std::any_of(tokens.begin(), tokens.end(), [&](const json& token) { return token["content"] == content; });
    if (!there && !content.empty()) {
      tokens.push_back(added_token(content, true));
    }
  }
  std::map<std::string, std::int64_t> wanted;
  for (const auto& [id, entry] : configured) {
    wanted[entry["content"].get<std::string>()] = id;
  }
  for (const AddedToken& token : read_added_tokens(tokens, vocabulary)) {
    const auto found = wanted.find(token.content);
    check(found == wanted.end() || found->second == token.id,
          "tokenizer_config.json: added_tokens_decoder: '{}' is {}, expected {}: the vocabulary's id, or the next free one",
          token.content.substr(0, 80), found == wanted.end() ? -1 : found->second, token.id);
  }
  return tokens;
}

}  // namespace hedgehog

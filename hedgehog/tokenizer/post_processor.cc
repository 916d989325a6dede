// A template is read once: what stands before $A is the prefix, what stands behind it the suffix.
#include "hedgehog/tokenizer/post_processor.h"

#include "hedgehog/tokenizer/json_fields.h"

namespace hedgehog {
namespace {

void append_special(const nlohmann::json& table, const std::string& name, std::vector<std::int32_t>& ids) {
  const auto found = table.find(name);
  check(found != table.end(), "tokenizer.json: TemplateProcessing: '{}' is not among its special_tokens", name);
  for (const auto& id : array_field(*found, "ids", "TemplateProcessing special_tokens")) {
    ids.push_back(id_value(id, "TemplateProcessing special_tokens"));
  }
}

PostProcessor read_template(const nlohmann::json& description) {
  PostProcessor result;
  bool seen = false;
  const nlohmann::json& table = object_field(description, "special_tokens", "TemplateProcessing");
  for (const auto& piece : array_field(description, "single", "TemplateProcessing")) {
    check(piece.is_object(), "tokenizer.json: TemplateProcessing: expected objects in 'single', found {}", piece.type_name());
    if (piece.contains("Sequence")) {
      check(!seen, "tokenizer.json: TemplateProcessing: a template that holds its text twice is not known");
      seen = true;
    } else {
      const nlohmann::json& special = object_field(piece, "SpecialToken", "TemplateProcessing");
      append_special(table, string_field(special, "id", "TemplateProcessing"), seen ? result.suffix : result.prefix);
    }
  }
  check(seen, "tokenizer.json: TemplateProcessing: the template does not hold its text");
  return result;
}

std::int32_t token_pair_id(const nlohmann::json& description, const char* name) {
  const nlohmann::json& pair = array_field(description, name, "post_processor");
  check(pair.size() == 2, "tokenizer.json: post_processor: '{}' should be a token and its id", name);
  return id_value(pair[1], "post_processor");
}

PostProcessor read(const nlohmann::json& description, int depth) {
  check(depth < kMaximumNesting, "tokenizer.json: post_processor is nested deeper than {}", kMaximumNesting);
  const std::string type = string_field(description, "type", "post_processor");
  if (type == "ByteLevel") {
    return {};
  }
  if (type == "TemplateProcessing") {
    return read_template(description);
  }
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    return {{token_pair_id(description, "cls")}, {token_pair_id(description, "sep")}};
  }
  check(type == "Sequence", "tokenizer.json: unknown post_processor '{}'", type);
  PostProcessor result;
  for (const auto& part : array_field(description, "processors", "post_processor")) {
    const PostProcessor outer = read(part, depth + 1);
    result.prefix.insert(result.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
    result.suffix.insert(result.suffix.end(), outer.suffix.begin(), outer.suffix.end());
  }
  return result;
}

}  // namespace

PostProcessor read_post_processor(const nlohmann::json& description) {
  return description.is_null() ? PostProcessor() : read(description, 0);
}

}  // namespace hedgehog

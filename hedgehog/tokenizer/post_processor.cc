// Each kind becomes two templates, one for a single text and one for a pair.
#include "hedgehog/tokenizer/post_processor.h"

#include "hedgehog/tokenizer/json_fields.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

namespace hedgehog {
namespace {

using Piece = PostProcessor::Piece;

constexpr std::size_t kMostSpecialTokens = 4096;  // of one template: what a file says is held in memory with every text

std::int32_t type_of(const nlohmann::json& piece) {
  const nlohmann::json* type = optional_field(piece, "type_id");
  return type == nullptr ? 0 : id_value(*type, "TemplateProcessing type_id");
}

std::vector<std::int32_t> special_ids(const nlohmann::json& table, const std::string& name) {
  const auto found = table.find(name);
  check(found != table.end(), "tokenizer.json: TemplateProcessing: '{}' is not among its special_tokens", name.substr(0, 80));
  std::vector<std::int32_t> ids;
  for (const auto& id : array_field(*found, "ids", "TemplateProcessing special_tokens")) {
    ids.push_back(id_value(id, "TemplateProcessing special_tokens"));
  }
  return ids;
}

// The template called `name` ("single" or "pair"), which holds each of its `texts` texts once.
std::vector<Piece> read_pieces(const nlohmann::json& description, const char* name, int texts) {
  const nlohmann::json& table = object_field(description, "special_tokens", "TemplateProcessing");
  std::vector<Piece> pieces;
  std::vector<int> seen(static_cast<std::size_t>(texts), 0);
  std::size_t special = 0;
  for (const auto& entry : array_field(description, name, "TemplateProcessing")) {
    check(entry.is_object(), "tokenizer.json: TemplateProcessing: expected objects in '{}', found {}", name, entry.type_name());
    if (entry.contains("Sequence")) {
      const nlohmann::json& sequence = object_field(entry, "Sequence", "TemplateProcessing");
      const std::string id = string_field(sequence, "id", "TemplateProcessing");
      check(id == "A" || (id == "B" && texts == 2), "tokenizer.json: TemplateProcessing: unknown text '{}' in '{}'",
            id.substr(0, 80), name);
      const int text = id == "A" ? 0 : 1;
      ++seen[static_cast<std::size_t>(text)];
      pieces.push_back({text, {}, type_of(sequence)});
    } else {
      const nlohmann::json& token = object_field(entry, "SpecialToken", "TemplateProcessing");
      pieces.push_back({-1, special_ids(table, string_field(token, "id", "TemplateProcessing")), type_of(token)});
      special += pieces.back().ids.size();
      check(special <= kMostSpecialTokens, "tokenizer.json: TemplateProcessing: more than {} special tokens in '{}'",
            kMostSpecialTokens, name);
    }
  }
  check(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }),
        "tokenizer.json: TemplateProcessing: '{}' should hold each of its texts once", name);
  return pieces;
}

PostProcessor read_template(const nlohmann::json& description) {
  PostProcessor result;
  result.single = read_pieces(description, "single", 1);
  result.pair.clear();
  // Files for which nobody asked for pairs may have an empty template.
  if (const nlohmann::json* pair = optional_field(description, "pair"); pair != nullptr && *pair != nlohmann::json::array()) {
    result.pair = read_pieces(description, "pair", 2);
  }
  return result;
}

Piece token_of(const nlohmann::json& description, const char* name, std::int32_t type) {
  const nlohmann::json& token = array_field(description, name, "post_processor");
  check(token.size() == 2, "tokenizer.json: post_processor: '{}' should be a token and its id", name);
  return {-1, {id_value(token[1], "post_processor")}, type};
}

// Nothing for one that leaves the tokens alone.
std::optional<PostProcessor> read(const nlohmann::json& description, int depth) {
  check(depth < kMaximumNesting, "tokenizer.json: post_processor is nested deeper than {}", kMaximumNesting);
  const std::string type = string_field(description, "type", "post_processor");
  if (type == "ByteLevel") {
    return std::nullopt;
  }
  if (type == "TemplateProcessing") {
    return read_template(description);
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    // <s> A </s></s> B </s> is all of type 0; [CLS] A [SEP] B [SEP] is not.
    const bool roberta = type == "RobertaProcessing";
    const auto token = [&](const char* name, int of_type) { return token_of(description, name, roberta ? 0 : of_type); };
    PostProcessor result;
    result.single = {token("cls", 0), {0, {}, 0}, token("sep", 0)};
    result.pair = result.single;
    if (roberta) {
      result.pair.push_back(token("sep", 0));
    }
    result.pair.push_back({1, {}, roberta ? 0 : 1});
    result.pair.push_back(token("sep", 1));
    return result;
  }
  check(type == "Sequence", "tokenizer.json: unknown post_processor '{}'", type.substr(0, 80));
  std::optional<PostProcessor> result;
  for (const auto& part : array_field(description, "processors", "post_processor")) {
    if (std::optional<PostProcessor> next = read(part, depth + 1)) {
      check(!result, "tokenizer.json: post_processor: a Sequence in which two parts add tokens is not known");
      result = std::move(next);
    }
  }
  return result;
}

}  // namespace

std::int64_t PostProcessor::added(const std::vector<Piece>& pieces) {
  std::int64_t count = 0;
  for (const Piece& piece : pieces) {
    count += std::ssize(piece.ids);
  }
  return count;
}

PostProcessor read_post_processor(const nlohmann::json& description) {
  return description.is_null() ? PostProcessor() : read(description, 0).value_or(PostProcessor());
}

}  // namespace hedgehog

#include "hedgehog/tokenizer/token_model.h"

#include "hedgehog/tokenizer/json_fields.h"

namespace hedgehog {

TokenMap read_vocabulary(const nlohmann::json& model) {
  const nlohmann::json& entries = object_field(model, "vocab", "model");
  TokenMap vocabulary;
  vocabulary.reserve(entries.size());
  for (const auto& [text, id] : entries.items()) {
    const std::int32_t value = id_value(id, "vocab");
    // Tables are indexed by id: a damaged id must not make them huge.
    check(static_cast<std::size_t>(value) < 4 * entries.size() + 65536,
          "tokenizer.json: vocab: the id {} lies far above the number of entries, {}", value, entries.size());
    vocabulary.emplace(text, value);
  }
  return vocabulary;
}

}  // namespace hedgehog

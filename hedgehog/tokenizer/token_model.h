// What turns one word into token ids: the part in which byte-pair encoding, WordPiece and SentencePiece differ.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hedgehog {

/// Hash that lets string maps be searched by string_view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using TokenMap = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the ids of one piece that the pre-tokenizer gave, which is valid UTF-8; bytes of any kind for byte-level BPE. Any
  /// number of threads at once.
  virtual void encode_word(std::string_view word, std::vector<std::int32_t>& ids) const = 0;
  /// The tokens as the file writes them.
  virtual const TokenMap& vocabulary() const = 0;
};

/// `vocab` of tokenizer.json's model. Throws Error for what is no id, or one far above the number of entries.
TokenMap read_vocabulary(const nlohmann::json& model);

}  // namespace hedgehog

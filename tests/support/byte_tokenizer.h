// A tokenizer whose tokens are bytes.
#pragma once

#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hedgehog::testing {

// Token i < 256 is the byte i; 256 "<|endoftext|>", 257 "<begin>", 258 "<end>", 259 nothing.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(std::vector<std::int32_t> end_tokens = {258}) : end_tokens_(std::move(end_tokens)) {}
  std::vector<std::int32_t> encode(std::string_view text, bool) const override {
    std::vector<std::int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const override {
    std::string text;
    for (const std::int32_t id : ids) {
      if (id < 256) {
        text += static_cast<char>(id);
      } else if (!skip_special && id < 259) {
        text += kSpecial[id - 256];
      }
    }
    return text;
  }
  std::optional<std::int32_t> token_to_id(std::string_view token) const override {
    for (int i = 0; i < 3; ++i) {
      if (token == kSpecial[i]) return 256 + i;
    }
    return std::nullopt;
  }
  std::int64_t vocabulary_size() const override { return 260; }
  const std::vector<std::int32_t>& end_tokens() const override { return end_tokens_; }
  std::optional<std::int32_t> begin_token() const override { return 257; }

 private:
  static constexpr const char* kSpecial[] = {"<|endoftext|>", "<begin>", "<end>"};
  std::vector<std::int32_t> end_tokens_;
};

}  // namespace hedgehog::testing

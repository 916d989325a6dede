// `decoder` of tokenizer.json: from the texts of tokens to the text that they stand for.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

namespace hedgehog {

class Decoder {
 public:
  /// Knows ByteLevel (alone), WordPiece, Metaspace, Replace, ByteFallback, Fuse, Strip and Sequence; null joins the tokens with
  /// blanks. Throws Error that names any other kind.
  explicit Decoder(const nlohmann::json& description);

  /// Each token's text is that of bytes in byte-level BPE's alphabet, and they are simply joined: decode() is not needed.
  bool is_byte_level() const { return byte_level_; }
  /// Any bytes may come of it: tokens <0xHH> stand for a byte each, and the text may end inside a character, or hold such bytes
  /// as are no UTF-8. (The library writes U+FFFD for each of those.)
  std::string decode(std::vector<std::string> tokens) const;

 private:
  void add(const nlohmann::json& description, int depth);

  std::vector<std::function<void(std::vector<std::string>&)>> steps_;
  bool byte_level_ = false;
  bool joins_with_blanks_ = false;
};

}  // namespace hedgehog

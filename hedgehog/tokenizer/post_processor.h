// `post_processor` of tokenizer.json: the ids that stand before, between and behind one text or two, and each token's type.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <vector>

namespace hedgehog {

struct PostProcessor {
  /// A stretch of the result: a text (0 the first, 1 the second) or, if `text` is -1, special tokens.
  struct Piece {
    int text = -1;
    std::vector<std::int32_t> ids;
    std::int32_t type = 0;  // of all tokens of the stretch
  };
  std::vector<Piece> single = {{0, {}, 0}};
  std::vector<Piece> pair = {{0, {}, 0}, {1, {}, 1}};

  /// How many special tokens `pieces` add.
  static std::int64_t added(const std::vector<Piece>& pieces);
};

/// Knows ByteLevel (which moves offsets only), TemplateProcessing, RobertaProcessing, BertProcessing and Sequence; null adds
/// nothing. Throws Error that names any other kind.
PostProcessor read_post_processor(const nlohmann::json& description);

}  // namespace hedgehog

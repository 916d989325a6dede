// The tokens that a text begins with and at which generation stops.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/tokenizer/added_tokens.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

struct BorderTokens {
  std::optional<std::int32_t> begin;
  std::vector<std::int32_t> end;
  std::string begin_text, end_text;  // as tokenizer_config.json names them
  bool named = false;                // there is a tokenizer_config.json; else the texts are those of the ids
};

/// `id_of` gives a token's id, ids lie below `vocabulary_size`.
BorderTokens find_border_tokens(const TokenizerSource& source, const std::vector<AddedToken>& added,
                                const std::function<std::optional<std::int32_t>(std::string_view)>& id_of,
                                std::int64_t vocabulary_size);

}  // namespace hedgehog

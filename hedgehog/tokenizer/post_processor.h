// `post_processor` of tokenizer.json: the ids that stand before and behind a text.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <vector>

namespace hedgehog {

struct PostProcessor {
  std::vector<std::int32_t> prefix, suffix;
};

/// Knows ByteLevel (which moves offsets only), TemplateProcessing, RobertaProcessing, BertProcessing and Sequence; null adds
/// nothing. Throws Error that names any other kind.
PostProcessor read_post_processor(const nlohmann::json& description);

}  // namespace hedgehog

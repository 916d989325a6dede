// The pre-tokenizer Split of tokenizer.json: cuts text at the matches of a pattern.
#pragma once

#include "hedgehog/tokenizer/pre_tokenizer_step.h"
#include "hedgehog/tokenizer/scanner.h"

#include <nlohmann/json.hpp>

#include <memory>

namespace hedgehog {

/// From an entry of type "Split" of tokenizer.json. Throws Error for an unknown behaviour or kind of pattern.
std::unique_ptr<PreTokenizerStep> make_split_step(const nlohmann::json& description);

std::unique_ptr<PreTokenizerStep> make_scanner_step(KnownPattern pattern);

}  // namespace hedgehog

// What tokenizer_config.json says beside tokenizer.json, or instead of it: names of special tokens, added tokens, flags.
#pragma once

#include "hedgehog/tokenizer/token_model.h"

#include <nlohmann/json.hpp>

#include <span>
#include <string>

namespace hedgehog {

/// The text of a token that `config` names ("bos_token"): a string, or an object with "content". `otherwise` if it is not
/// there,
/// "" if it is null or something else.
std::string configured_token(const nlohmann::json& config, const char* name, const std::string& otherwise = "");

/// A flag of `config`, or `otherwise` if it is not there or null. Throws Error for another kind of value.
bool configured_flag(const nlohmann::json& config, const char* name, bool otherwise);

/// An entry of tokenizer.json's added_tokens, found in text as it is written.
nlohmann::json added_token(const std::string& content, bool special);

/// `tokens`, with the entries of `added_tokens_decoder` behind them (of equal contents the later one counts) and then the texts
/// of `special` that are not among them nor empty. Throws Error for an id in `added_tokens_decoder` that the token does not
/// get: the vocabulary's, else the next one that is free.
nlohmann::json with_configured_tokens(nlohmann::json tokens, const nlohmann::json& config, std::span<const std::string> special,
                                      const TokenMap& vocabulary);

}  // namespace hedgehog

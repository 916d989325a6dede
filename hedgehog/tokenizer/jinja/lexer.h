// Cuts a template into tokens, with Jinja's rules for white space as transformers sets them: trim_blocks and lstrip_blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedgehog::jinja {

struct Token {
  enum Kind { kData, kVariableBegin, kVariableEnd, kBlockBegin, kBlockEnd, kName, kString, kInteger, kFloat, kOperator, kEnd };
  Kind kind;
  std::string text;  // data; a name; a string's value; a number's digits; an operator's characters
  int line;
};

/// The last token is kEnd. Throws hedgehog::Error with the line. `source` is valid UTF-8.
std::vector<Token> tokenize(std::string_view source);

}  // namespace hedgehog::jinja

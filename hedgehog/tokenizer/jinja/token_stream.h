// A template's tokens, read from left to right with one token of look-ahead.
#pragma once

#include "hedgehog/tokenizer/jinja/parser.h"

#include <string_view>

namespace hedgehog::jinja {

class TokenStream {
 public:
  explicit TokenStream(const std::vector<Token>& tokens) : tokens_(tokens) {}
  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  int line() const { return current().line; }
  /// The current token, then moves on; the last token stays.
  const Token& next();
  const Token& expect(Token::Kind kind, std::string_view what);
  bool at_operator(std::string_view text) const { return current().kind == Token::kOperator && current().text == text; }
  bool at_name(std::string_view text) const { return current().kind == Token::kName && current().text == text; }
  bool skip_operator(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_operator(std::string_view text);
  void expect_name(std::string_view text);

 private:
  const std::vector<Token>& tokens_;
  std::size_t position_ = 0;
};

}  // namespace hedgehog::jinja

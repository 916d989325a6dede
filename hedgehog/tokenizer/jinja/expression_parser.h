// Expressions of a template, in the order of precedence that Jinja has.
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

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}
  ExpressionPtr expression() { return condition(); }
  /// One expression, or several with commas between, which make a tuple. Without `conditions` x if y is left to the caller.
  ExpressionPtr tuple(bool conditions);
  /// name(arguments) | name ... applied to the name "".
  ExpressionPtr filter_chain();

 private:
  ExpressionPtr condition();
  ExpressionPtr disjunction();
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters);
  ExpressionPtr primary();
  ExpressionPtr postfix(ExpressionPtr node);
  ExpressionPtr filters(ExpressionPtr node);
  ExpressionPtr filter(ExpressionPtr node);
  ExpressionPtr test(ExpressionPtr node);
  ExpressionPtr subscript(ExpressionPtr node);
  void call_arguments(Expression& node);

  ExpressionPtr make(Expression::Kind kind, std::string text = "");
  /// Adds a child and keeps count of the height.
  void add(Expression& node, ExpressionPtr child);
  ExpressionPtr binary(std::string text, ExpressionPtr left, ExpressionPtr right);

  TokenStream& stream_;
  int depth_ = 0;
};

}  // namespace hedgehog::jinja

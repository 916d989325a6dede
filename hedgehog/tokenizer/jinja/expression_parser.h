// Expressions of a template, in the order of precedence that Jinja has.
#pragma once

#include "hedgehog/tokenizer/jinja/token_stream.h"

namespace hedgehog::jinja {

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
  /// The operators of one level of the table in expression_parser.cc, and of all that bind tighter.
  ExpressionPtr binary(std::size_t level);
  ExpressionPtr negation();
  ExpressionPtr comparison();
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

  TokenStream& stream_;
  int depth_ = 0;
};

}  // namespace hedgehog::jinja

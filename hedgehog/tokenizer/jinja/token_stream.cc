#include "hedgehog/tokenizer/jinja/token_stream.h"

#include "hedgehog/base/error.h"

#include <algorithm>

namespace hedgehog::jinja {

const Token& TokenStream::next() {
  const Token& token = tokens_[position_];
  position_ = std::min(position_ + 1, tokens_.size() - 1);
  return token;
}

const Token& TokenStream::expect(Token::Kind kind, std::string_view what) {
  check(current().kind == kind, "chat template, line {}: expected {}, found '{}'", line(), what, current().text);
  return next();
}

bool TokenStream::skip_operator(std::string_view text) {
  if (!at_operator(text)) {
    return false;
  }
  next();
  return true;
}

bool TokenStream::skip_name(std::string_view text) {
  if (!at_name(text)) {
    return false;
  }
  next();
  return true;
}

void TokenStream::expect_operator(std::string_view text) {
  check(skip_operator(text), "chat template, line {}: expected '{}', found '{}'", line(), text, current().text);
}

void TokenStream::expect_name(std::string_view text) {
  check(skip_name(text), "chat template, line {}: expected '{}', found '{}'", line(), text, current().text);
}

}  // namespace hedgehog::jinja

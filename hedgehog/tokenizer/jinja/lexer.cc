// Data up to the next {{, {% or {#, then the tokens of an expression up to its end.
#include "hedgehog/tokenizer/jinja/lexer.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/unicode.h"

#include <algorithm>
#include <cctype>

namespace hedgehog::jinja {
namespace {

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool starts_name(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

// Line ends become \n, and one at the very end goes.
std::string with_plain_newlines(std::string_view source) {
  std::string result;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      i += i + 1 < source.size() && source[i + 1] == '\n';
      result += '\n';
    } else {
      result += source[i];
    }
  }
  if (result.ends_with('\n')) {
    result.pop_back();
  }
  return result;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_newlines(source)) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) {
      data();
    }
    push(Token::kEnd, "end of the template");
    return std::move(tokens_);
  }

 private:
  bool at(std::string_view text, std::size_t offset = 0) const {
    return source_.compare(std::min(position_ + offset, source_.size()), text.size(), text) == 0;
  }
  void push(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void advance(std::size_t count) {
    line_ += static_cast<int>(std::count(source_.begin() + position_, source_.begin() + position_ + count, '\n'));
    position_ += count;
  }
  std::size_t skip_blanks(std::size_t position) const {
    while (position < source_.size() && is_blank(source_[position])) {
      ++position;
    }
    return position;
  }

  void data() {
    std::size_t begin = position_;
    while (true) {
      begin = source_.find('{', begin);
      if (begin == std::string::npos || begin + 1 >= source_.size()) {
        push(Token::kData, source_.substr(position_));
        advance(source_.size() - position_);
        return;
      }
      if (source_[begin + 1] == '{' || source_[begin + 1] == '%' || source_[begin + 1] == '#') {
        break;
      }
      ++begin;
    }
    std::string text = source_.substr(position_, begin - position_);
    const char kind = source_[begin + 1];
    const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    const bool plus = sign == '+' && kind != '{';
    if (sign == '-') {
      while (!text.empty() && is_blank(text.back())) {
        text.pop_back();
      }
    } else if (kind != '{' && !plus) {  // lstrip_blocks
      const std::size_t newline = text.rfind('\n');
      const std::size_t line_begin = newline == std::string::npos ? 0 : newline + 1;
      if ((newline != std::string::npos || line_starting_) && std::all_of(text.begin() + line_begin, text.end(), is_blank)) {
        text.resize(line_begin);
      }
    }
    if (!text.empty()) {
      push(Token::kData, std::move(text));
    }
    advance(begin + 2 - position_ + (sign == '-' || plus));
    line_starting_ = false;
    if (kind == '#') {
      comment();
    } else if (kind == '%' && raw()) {
    } else {
      push(kind == '{' ? Token::kVariableBegin : Token::kBlockBegin, kind == '{' ? "{{" : "{%");
      expression(kind == '{');
    }
  }

  // What follows the end of a block, comment or variable: -}} takes all blanks, %} and #} one newline.
  void end(std::size_t length, char sign, bool trims_newline) {
    advance(length);
    const std::size_t before = position_;
    if (sign == '-') {
      advance(skip_blanks(position_) - position_);
    } else if (trims_newline && sign != '+' && at("\n")) {
      advance(1);
    }
    line_starting_ = position_ > before && source_[position_ - 1] == '\n';
  }

  void comment() {
    const std::size_t close = source_.find("#}", position_);
    check(close != std::string::npos, "chat template, line {}: the comment is not closed", line_);
    const char sign = close > position_ ? source_[close - 1] : '\0';
    end(close + 2 - position_, sign, true);
  }

  // {% raw %} ... {% endraw %}, the {% of the first being read already.
  bool raw() {
    std::size_t after = skip_blanks(position_);
    if (source_.compare(after, 3, "raw") != 0) {
      return false;
    }
    after = skip_blanks(after + 3);
    const char sign = after < source_.size() ? source_[after] : '\0';
    after += sign == '-';
    if (source_.compare(std::min(after, source_.size()), 2, "%}") != 0) {
      return false;
    }
    end(after + 2 - position_, sign, true);
    for (std::size_t close = source_.find("{%", position_); close != std::string::npos; close = source_.find("{%", close + 2)) {
      std::size_t i = close + 2;
      const char open_sign = i < source_.size() ? source_[i] : '\0';
      i = skip_blanks(i + (open_sign == '-' || open_sign == '+'));
      if (source_.compare(std::min(i, source_.size()), 6, "endraw") != 0) {
        continue;
      }
      i = skip_blanks(i + 6);
      const char close_sign = i < source_.size() ? source_[i] : '\0';
      i += close_sign == '-' || close_sign == '+';
      if (source_.compare(std::min(i, source_.size()), 2, "%}") != 0) {
        continue;
      }
      std::string text = source_.substr(position_, close - position_);
      while (open_sign == '-' && !text.empty() && is_blank(text.back())) {
        text.pop_back();
      }
      if (open_sign != '-' && open_sign != '+') {
        const std::size_t newline = text.rfind('\n');
        const std::size_t line_begin = newline == std::string::npos ? 0 : newline + 1;
        if ((newline != std::string::npos || line_starting_) && std::all_of(text.begin() + line_begin, text.end(), is_blank)) {
          text.resize(line_begin);
        }
      }
      push(Token::kData, std::move(text));
      end(i + 2 - position_, close_sign, true);
      return true;
    }
    fail("chat template, line {}: the raw block is not closed", line_);
  }

  void expression(bool variable) {
    const std::string_view close = variable ? "}}" : "%}";
    std::string open;  // brackets: inside them }} closes dicts
    while (true) {
      advance(skip_blanks(position_) - position_);
      check(position_ < source_.size(), "chat template, line {}: '{}' is missing", line_, close);
      if (open.empty()) {
        const char sign = source_[position_];
        const bool signed_end = (sign == '-' || (sign == '+' && !variable)) && at(close, 1);
        if (signed_end || at(close)) {
          push(variable ? Token::kVariableEnd : Token::kBlockEnd, std::string(close));
          end(signed_end ? 3 : 2, signed_end ? sign : '\0', !variable);
          return;
        }
      }
      const char c = source_[position_];
      if (c == '\'' || c == '"') {
        string(c);
      } else if (is_digit(c)) {
        number();
      } else if (starts_name(c)) {
        std::size_t stop = position_;
        while (stop < source_.size() && (starts_name(source_[stop]) || is_digit(source_[stop]))) {
          ++stop;
        }
        push(Token::kName, source_.substr(position_, stop - position_));
        advance(stop - position_);
      } else {
        operator_token(open);
      }
    }
  }

  void operator_token(std::string& open) {
    for (const std::string_view two : {"//", "**", "==", "!=", ">=", "<="}) {
      if (at(two)) {
        push(Token::kOperator, std::string(two));
        advance(2);
        return;
      }
    }
    const char c = source_[position_];
    check(std::string_view("+-/*%~[](){}<>=.:|,").find(c) != std::string_view::npos,
          "chat template, line {}: unexpected character '{}'", line_, c);
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      check(!open.empty() && open.back() == c, "chat template, line {}: unexpected '{}'", line_, c);
      open.pop_back();
    }
    push(Token::kOperator, std::string(1, c));
    advance(1);
  }

  void number() {
    std::size_t stop = position_;
    const auto digits = [&] {
      while (stop < source_.size() && (is_digit(source_[stop]) || source_[stop] == '_')) {
        ++stop;
      }
    };
    const auto digit_at = [&](std::size_t i) { return i < source_.size() && is_digit(source_[i]); };
    digits();
    bool is_float = false;
    if (stop < source_.size() && source_[stop] == '.' && digit_at(stop + 1)) {
      is_float = true;
      ++stop;
      digits();
    }
    if (stop < source_.size() && (source_[stop] == 'e' || source_[stop] == 'E')) {
      const bool has_sign = stop + 1 < source_.size() && (source_[stop + 1] == '+' || source_[stop + 1] == '-');
      if (digit_at(stop + 1 + has_sign)) {
        is_float = true;
        stop += 1 + has_sign;
        digits();
      }
    }
    std::string text = source_.substr(position_, stop - position_);
    std::erase(text, '_');
    push(is_float ? Token::kFloat : Token::kInteger, std::move(text));
    advance(stop - position_);
  }

  // Python's escapes, of which an unknown one stays as it is.
  void string(char quote) {
    std::string value;
    std::size_t i = position_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\' || i + 1 >= source_.size()) {
        value += source_[i];
        continue;
      }
      escape(source_[++i], i, value);
    }
    check(i < source_.size(), "chat template, line {}: the string is not closed", line_);
    push(Token::kString, std::move(value));
    advance(i + 1 - position_);
  }

  void escape(char c, std::size_t& i, std::string& value) {
    static constexpr std::string_view kFrom = "ntr\\'\"abfv", kTo = "\n\t\r\\'\"\a\b\f\v";
    if (const std::size_t known = kFrom.find(c); known != std::string_view::npos) {
      value += kTo[known];
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t length = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      char32_t code_point = 0;
      for (std::size_t k = 1; k <= length; ++k) {
        const char digit = i + k < source_.size() ? source_[i + k] : '\0';
        check(std::isxdigit(static_cast<unsigned char>(digit)) != 0, "chat template, line {}: \\{} takes {} hex digits", line_,
              c, length);
        code_point = code_point * 16 + static_cast<char32_t>(is_digit(digit) ? digit - '0' : (digit | 32) - 'a' + 10);
      }
      check(code_point < 0x110000 && (code_point < 0xD800 || code_point > 0xDFFF),
            "chat template, line {}: \\{} names no character", line_, c);
      append_utf8(value, code_point);
      i += length;
    } else if (c >= '0' && c <= '7') {
      char32_t code_point = 0;
      std::size_t k = 0;
      for (; k < 3 && i + k < source_.size() && source_[i + k] >= '0' && source_[i + k] <= '7'; ++k) {
        code_point = code_point * 8 + static_cast<char32_t>(source_[i + k] - '0');
      }
      append_utf8(value, code_point);
      i += k - 1;
    } else if (c != '\n') {  // a backslash before a line end joins the lines
      value.append(1, '\\').append(1, c);
    }
  }

  std::string source_;
  std::size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace hedgehog::jinja

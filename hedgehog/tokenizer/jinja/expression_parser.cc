// The precedence ladder: if-else, or, and, not, comparisons, + -, ~, * / // %, **, signs, then what follows an operand.
#include "hedgehog/tokenizer/jinja/expression_parser.h"

#include "hedgehog/base/error.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace hedgehog::jinja {
namespace {

constexpr int kMaximumNesting = 60;  // brackets and the like inside one another
constexpr int kMaximumHeight = 200;  // of an expression's tree

// Operators of two operands that group from the left, loosest first. `not` and the comparisons stand before the arithmetic.
constexpr std::array<std::array<std::string_view, 4>, 6> kBinary{
    {{"or"}, {"and"}, {"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}}};
constexpr std::size_t kLoosest = 0, kArithmetic = 2;

bool is_of_level(const Token& token, std::size_t level) {
  const auto& names = kBinary[level];
  return token.kind == (level < kArithmetic ? Token::kName : Token::kOperator) &&
         std::find(names.begin(), names.end(), token.text) != names.end();
}

bool is_comparison(const Token& token) {
  static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
  return token.kind == Token::kOperator &&
         std::find(std::begin(kOperators), std::end(kOperators), token.text) != std::end(kOperators);
}

}  // namespace

ExpressionPtr ExpressionParser::make(Expression::Kind kind, std::string text) {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = stream_.line();
  node->text = std::move(text);
  return node;
}

void ExpressionParser::add(Expression& node, ExpressionPtr child) {
  if (child) {
    node.height = std::max(node.height, child->height + 1);
    check(node.height <= kMaximumHeight, "chat template, line {}: an expression of more than {} operations in one another",
          node.line, kMaximumHeight);
  }
  node.arguments.push_back(std::move(child));
}

ExpressionPtr ExpressionParser::tuple(bool conditions) {
  const auto item = [&] { return conditions ? condition() : binary(kLoosest); };
  ExpressionPtr first = item();
  if (!stream_.at_operator(",")) {
    return first;
  }
  ExpressionPtr node = make(Expression::kTuple);
  add(*node, std::move(first));
  while (stream_.skip_operator(",")) {
    if (stream_.current().kind == Token::kVariableEnd || stream_.current().kind == Token::kBlockEnd) {
      break;
    }
    add(*node, item());
  }
  return node;
}

ExpressionPtr ExpressionParser::filter_chain() {
  ExpressionPtr node = filter(make(Expression::kName, ""));
  return filters(std::move(node));
}

ExpressionPtr ExpressionParser::condition() {
  check(++depth_ <= kMaximumNesting, "chat template, line {}: an expression is nested deeper than {}", stream_.line(),
        kMaximumNesting);
  ExpressionPtr value = binary(kLoosest);
  while (stream_.skip_name("if")) {
    ExpressionPtr node = make(Expression::kCondition);
    add(*node, binary(kLoosest));
    add(*node, std::move(value));
    if (stream_.skip_name("else")) {
      add(*node, condition());
    }
    value = std::move(node);
  }
  --depth_;
  return value;
}

ExpressionPtr ExpressionParser::binary(std::size_t level) {
  const auto operand = [&] {
    if (level + 1 == kArithmetic) return negation();
    return level + 1 == kBinary.size() ? unary(true) : binary(level + 1);
  };
  ExpressionPtr left = operand();
  while (is_of_level(stream_.current(), level)) {
    ExpressionPtr node = make(Expression::kBinary, stream_.next().text);
    node->line = left->line;
    add(*node, std::move(left));
    add(*node, operand());
    left = std::move(node);
  }
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  if (!stream_.at_name("not")) {
    return comparison();
  }
  check(++depth_ <= kMaximumNesting, "chat template, line {}: an expression is nested deeper than {}", stream_.line(),
        kMaximumNesting);
  ExpressionPtr node = make(Expression::kUnary, "not");
  stream_.next();
  add(*node, negation());
  --depth_;
  return node;
}

ExpressionPtr ExpressionParser::comparison() {
  ExpressionPtr left = binary(kArithmetic);
  ExpressionPtr node;
  while (true) {
    std::string name;
    if (is_comparison(stream_.current())) {
      name = stream_.next().text;
    } else if (stream_.skip_name("in")) {
      name = "in";
    } else if (stream_.at_name("not") && stream_.ahead().kind == Token::kName && stream_.ahead().text == "in") {
      stream_.next();
      stream_.next();
      name = "not in";
    } else {
      return node ? std::move(node) : std::move(left);
    }
    if (!node) {
      node = make(Expression::kCompare);
      add(*node, std::move(left));
    }
    node->operators.push_back(std::move(name));
    add(*node, binary(kArithmetic));
  }
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  check(++depth_ <= kMaximumNesting, "chat template, line {}: an expression is nested deeper than {}", stream_.line(),
        kMaximumNesting);
  ExpressionPtr node;
  if (stream_.at_operator("-") || stream_.at_operator("+")) {
    node = make(Expression::kUnary, stream_.current().text);
    stream_.next();
    add(*node, unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  if (with_filters) {
    node = filters(std::move(node));
  }
  --depth_;
  return node;
}

ExpressionPtr ExpressionParser::primary() {
  const Token& token = stream_.current();
  ExpressionPtr node = make(Expression::kConstant);
  if (token.kind == Token::kName) {
    const std::string& name = stream_.next().text;
    if (name == "true" || name == "True" || name == "false" || name == "False") {
      node->value = Value(name == "true" || name == "True");
    } else if (name == "none" || name == "None") {
      node->value = Value::none();
    } else {
      node->kind = Expression::kName;
      node->text = name;
    }
  } else if (token.kind == Token::kString) {
    std::string text;
    while (stream_.current().kind == Token::kString) {
      text += stream_.next().text;
    }
    node->value = Value(std::move(text));
  } else if (token.kind == Token::kInteger) {
    std::int64_t value = 0;
    const auto result = std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
    check(result.ec == std::errc(), "chat template, line {}: the number {} is too large", token.line, token.text.substr(0, 40));
    node->value = Value(value);
    stream_.next();
  } else if (token.kind == Token::kFloat) {
    double value = 0;
    std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
    node->value = Value(value);
    stream_.next();
  } else if (stream_.skip_operator("(")) {
    node->kind = Expression::kTuple;
    bool comma = false;
    while (!stream_.at_operator(")")) {
      if (!node->arguments.empty()) {
        stream_.expect_operator(",");
        comma = true;
        if (stream_.at_operator(")")) {
          break;
        }
      }
      add(*node, condition());
    }
    stream_.expect_operator(")");
    if (node->arguments.size() == 1 && !comma) {
      return std::move(node->arguments[0]);
    }
  } else if (stream_.skip_operator("[")) {
    node->kind = Expression::kList;
    while (!stream_.skip_operator("]")) {
      if (!node->arguments.empty()) {
        stream_.expect_operator(",");
        if (stream_.skip_operator("]")) {
          break;
        }
      }
      add(*node, condition());
    }
  } else if (stream_.skip_operator("{")) {
    node->kind = Expression::kDict;
    while (!stream_.skip_operator("}")) {
      if (!node->arguments.empty()) {
        stream_.expect_operator(",");
        if (stream_.skip_operator("}")) {
          break;
        }
      }
      add(*node, condition());
      stream_.expect_operator(":");
      add(*node, condition());
    }
  } else {
    fail("chat template, line {}: expected an expression, found '{}'", token.line, token.text);
  }
  return node;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr node) {
  while (true) {
    if (stream_.at_operator(".") || stream_.at_operator("[")) {
      node = subscript(std::move(node));
    } else if (stream_.at_operator("(")) {
      ExpressionPtr call = make(Expression::kCall);
      add(*call, std::move(node));
      call_arguments(*call);
      node = std::move(call);
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr node) {
  while (true) {
    if (stream_.skip_operator("|")) {
      node = filter(std::move(node));
    } else if (stream_.at_name("is")) {
      stream_.next();
      node = test(std::move(node));
    } else if (stream_.at_operator("(")) {
      ExpressionPtr call = make(Expression::kCall);
      add(*call, std::move(node));
      call_arguments(*call);
      node = std::move(call);
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr node) {
  ExpressionPtr result = make(Expression::kFilter, stream_.current().text);
  stream_.expect(Token::kName, "a filter's name");
  add(*result, std::move(node));
  if (stream_.at_operator("(")) {
    call_arguments(*result);
  }
  return result;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr node) {
  const bool negated = stream_.skip_name("not");
  ExpressionPtr result = make(Expression::kTest, stream_.current().text);
  stream_.expect(Token::kName, "a test's name");
  add(*result, std::move(node));
  const Token& token = stream_.current();
  const bool operand = token.kind == Token::kString || token.kind == Token::kInteger || token.kind == Token::kFloat ||
                       stream_.at_operator("[") || stream_.at_operator("{") ||
                       (token.kind == Token::kName && token.text != "else" && token.text != "or" && token.text != "and");
  if (stream_.at_operator("(")) {
    call_arguments(*result);
  } else if (operand) {
    check(!stream_.at_name("is"), "chat template, line {}: tests cannot be chained", stream_.line());
    // `x is defined if y` and `x is defined not in z` take no operand in practice, but Jinja reads one: so does this.
    add(*result, postfix(primary()));
  }
  if (negated) {
    ExpressionPtr inverse = make(Expression::kUnary, "not");
    add(*inverse, std::move(result));
    return inverse;
  }
  return result;
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr node) {
  if (stream_.skip_operator(".")) {
    const Token token = stream_.next();
    if (token.kind == Token::kInteger) {
      ExpressionPtr item = make(Expression::kItem);
      ExpressionPtr index = make(Expression::kConstant);
      index->value = Value(static_cast<std::int64_t>(std::atoll(token.text.c_str())));
      add(*item, std::move(node));
      add(*item, std::move(index));
      return item;
    }
    check(token.kind == Token::kName, "chat template, line {}: expected a name after '.', found '{}'", token.line, token.text);
    ExpressionPtr attribute = make(Expression::kAttribute, token.text);
    add(*attribute, std::move(node));
    return attribute;
  }
  stream_.expect_operator("[");
  ExpressionPtr result = make(Expression::kItem);
  add(*result, std::move(node));
  const auto bound = [&]() -> ExpressionPtr {
    return stream_.at_operator(":") || stream_.at_operator("]") ? nullptr : condition();
  };
  add(*result, bound());
  if (stream_.skip_operator(":")) {
    result->kind = Expression::kSlice;
    add(*result, bound());
    add(*result, stream_.skip_operator(":") ? bound() : nullptr);
  }
  check(result->kind == Expression::kSlice || result->arguments[1], "chat template, line {}: an empty subscript", result->line);
  stream_.expect_operator("]");
  return result;
}

void ExpressionParser::call_arguments(Expression& node) {
  stream_.expect_operator("(");
  bool first = true;
  while (!stream_.skip_operator(")")) {
    if (!first) {
      stream_.expect_operator(",");
      if (stream_.skip_operator(")")) {
        return;
      }
    }
    first = false;
    check(!stream_.at_operator("*") && !stream_.at_operator("**"), "chat template, line {}: * and ** arguments are not known",
          stream_.line());
    if (stream_.current().kind == Token::kName && stream_.ahead().kind == Token::kOperator && stream_.ahead().text == "=") {
      std::string name = stream_.next().text;
      stream_.next();
      ExpressionPtr value = condition();
      node.height = std::max(node.height, value->height + 1);
      node.named.emplace_back(std::move(name), std::move(value));
    } else {
      check(node.named.empty(), "chat template, line {}: a positional argument after a named one", stream_.line());
      add(node, condition());
    }
  }
}

}  // namespace hedgehog::jinja

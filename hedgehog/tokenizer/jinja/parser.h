// A template as a tree.
#pragma once

#include "hedgehog/tokenizer/jinja/lexer.h"
#include "hedgehog/tokenizer/jinja/value.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog::jinja {

struct Expression {
  enum Kind {
    kConstant,   // value
    kName,       // text
    kList,       // arguments
    kTuple,      // arguments
    kDict,       // arguments: key, value, key, value ...
    kUnary,      // text: not + -
    kBinary,     // text: and or + - * / // % ** ~
    kCompare,    // arguments[0] operators[0] arguments[1] operators[1] ...
    kCondition,  // arguments: condition, then, else (may be missing)
    kAttribute,  // arguments[0].text
    kItem,       // arguments[0][arguments[1]]
    kSlice,      // arguments: container, begin, end, step (null where not given)
    kCall,       // arguments[0](arguments[1...], named)
    kFilter,     // arguments[0] | text(arguments[1...], named)
    kTest,       // arguments[0] is text(arguments[1...])
  };
  Kind kind;
  int line;
  std::string text;
  Value value;
  std::vector<std::unique_ptr<Expression>> arguments;
  std::vector<std::pair<std::string, std::unique_ptr<Expression>>> named;
  std::vector<std::string> operators;
  int height = 1;  // of the tree; bounded, so that walking it does not overflow the stack
};
using ExpressionPtr = std::unique_ptr<Expression>;

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum Kind {
    kText,      // text
    kOutput,    // {{ expression }}
    kIf,        // branches, of which the last may have no condition
    kFor,       // for targets in expression if condition: body, else_body
    kSet,       // targets = expression; or text.targets[0] = expression
    kSetBlock,  // targets[0] = the text of body
    kMacro,     // text(parameters): body
    kFilter,    // the text of body through `expression`, whose innermost argument is the name ""
    kScope,     // body: {% generation %}
    kBreak,
    kContinue,
  };
  struct Branch {
    ExpressionPtr condition;  // null: else
    Body body;
  };
  Kind kind;
  int line;
  std::string text;
  ExpressionPtr expression, condition;
  std::vector<std::string> targets;
  std::vector<Branch> branches;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // name, default or null
  Body body, else_body;
};

/// Throws hedgehog::Error with the line for what is not known.
Body parse(const std::vector<Token>& tokens);

}  // namespace hedgehog::jinja

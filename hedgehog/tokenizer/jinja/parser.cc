// Statements by recursive descent; expressions are in expression_parser.cc.
#include "hedgehog/tokenizer/jinja/parser.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/jinja/expression_parser.h"

#include <algorithm>
#include <initializer_list>

namespace hedgehog::jinja {
namespace {

constexpr int kMaximumBlocks = 50;  // inside one another

class Parser {
 public:
  explicit Parser(const std::vector<Token>& tokens) : stream_(tokens), expressions_(stream_) {}

  Body run() {
    Body body = statements({});
    check(stream_.current().kind == Token::kEnd, "chat template, line {}: unexpected '{}'", stream_.line(),
          stream_.current().text);
    return body;
  }

 private:
  // Up to a block that begins with one of `ends`, whose name is then the current token.
  Body statements(std::initializer_list<std::string_view> ends) {
    check(++depth_ <= kMaximumBlocks, "chat template, line {}: blocks are nested deeper than {}", stream_.line(),
          kMaximumBlocks);
    Body body;
    while (stream_.current().kind != Token::kEnd) {
      const Token& token = stream_.current();
      if (token.kind == Token::kData) {
        body.push_back(make(Statement::kText, token.line, token.text));
        stream_.next();
      } else if (token.kind == Token::kVariableBegin) {
        stream_.next();
        Statement output = make(Statement::kOutput, token.line);
        output.expression = expressions_.tuple(true);
        stream_.expect(Token::kVariableEnd, "}}");
        body.push_back(std::move(output));
      } else {
        const int line = token.line;
        stream_.next();
        const std::string name = stream_.current().text;
        check(stream_.current().kind == Token::kName, "chat template, line {}: expected the name of a block, found '{}'", line,
              name);
        if (std::find(ends.begin(), ends.end(), name) != ends.end()) {
          --depth_;
          return body;
        }
        stream_.next();
        body.push_back(block(name, line));
      }
    }
    check(ends.size() == 0, "chat template, line {}: '{}' is missing", stream_.line(),
          ends.size() == 0 ? "" : *(ends.end() - 1));
    --depth_;
    return body;
  }

  static Statement make(Statement::Kind kind, int line, std::string text = "") {
    Statement statement{};
    statement.kind = kind;
    statement.line = line;
    statement.text = std::move(text);
    return statement;
  }

  void block_end() { stream_.expect(Token::kBlockEnd, "%}"); }

  Body body_until(std::string_view end) {
    block_end();
    Body body = statements({end});
    stream_.next();
    block_end();
    return body;
  }

  Statement block(const std::string& name, int line) {
    if (name == "if") return if_block(line);
    if (name == "for") return for_block(line);
    if (name == "set") return set_block(line);
    if (name == "macro") return macro_block(line);
    if (name == "break" || name == "continue") {
      check(loops_ > 0, "chat template, line {}: '{}' outside a loop", line, name);
      block_end();
      return make(name == "break" ? Statement::kBreak : Statement::kContinue, line);
    }
    if (name == "generation") {
      Statement statement = make(Statement::kScope, line);
      statement.body = body_until("endgeneration");
      return statement;
    }
    if (name == "filter") {
      Statement statement = make(Statement::kFilter, line);
      statement.expression = expressions_.filter_chain();
      statement.body = body_until("endfilter");
      return statement;
    }
    fail("chat template, line {}: unknown block '{}'", line, name);
  }

  Statement if_block(int line) {
    Statement statement = make(Statement::kIf, line);
    ExpressionPtr condition = expressions_.tuple(false);
    while (true) {
      block_end();
      statement.branches.push_back({std::move(condition), statements({"elif", "else", "endif"})});
      const std::string end = stream_.next().text;
      if (end == "elif") {
        condition = expressions_.tuple(false);
        continue;
      }
      if (end == "else") {
        statement.branches.push_back({nullptr, body_until("endif")});
      } else {
        block_end();
      }
      return statement;
    }
  }

  Statement for_block(int line) {
    Statement statement = make(Statement::kFor, line);
    statement.targets = names();
    stream_.expect_name("in");
    statement.expression = expressions_.tuple(false);
    if (stream_.skip_name("if")) {
      statement.condition = expressions_.expression();
    }
    check(!stream_.at_name("recursive"), "chat template, line {}: recursive loops are not known", line);
    block_end();
    ++loops_;
    statement.body = statements({"else", "endfor"});
    --loops_;
    if (stream_.next().text == "else") {
      statement.else_body = body_until("endfor");
    } else {
      block_end();
    }
    return statement;
  }

  std::vector<std::string> names() {
    const bool parenthesis = stream_.skip_operator("(");
    std::vector<std::string> result;
    do {
      if (!result.empty() && stream_.current().kind != Token::kName) {
        break;  // a trailing comma
      }
      result.push_back(stream_.expect(Token::kName, "a name").text);
    } while (stream_.skip_operator(","));
    if (parenthesis) {
      stream_.expect_operator(")");
    }
    return result;
  }

  Statement set_block(int line) {
    Statement statement = make(Statement::kSet, line);
    statement.targets = names();
    if (statement.targets.size() == 1 && stream_.skip_operator(".")) {
      statement.text = statement.targets[0];
      statement.targets[0] = stream_.expect(Token::kName, "a name").text;
    }
    if (stream_.skip_operator("=")) {
      statement.expression = expressions_.tuple(true);
      block_end();
      return statement;
    }
    check(statement.targets.size() == 1 && statement.text.empty() && stream_.current().kind == Token::kBlockEnd,
          "chat template, line {}: expected '=', found '{}'", line, stream_.current().text);
    statement.kind = Statement::kSetBlock;
    statement.body = body_until("endset");
    return statement;
  }

  Statement macro_block(int line) {
    Statement statement = make(Statement::kMacro, line, stream_.expect(Token::kName, "the macro's name").text);
    stream_.expect_operator("(");
    while (!stream_.skip_operator(")")) {
      if (!statement.parameters.empty()) {
        stream_.expect_operator(",");
      }
      std::string name = stream_.expect(Token::kName, "a parameter's name").text;
      statement.parameters.emplace_back(std::move(name), stream_.skip_operator("=") ? expressions_.expression() : nullptr);
    }
    const int loops = std::exchange(loops_, 0);
    statement.body = body_until("endmacro");
    loops_ = loops;
    return statement;
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

Body parse(const std::vector<Token>& tokens) {
  return Parser(tokens).run();
}

}  // namespace hedgehog::jinja

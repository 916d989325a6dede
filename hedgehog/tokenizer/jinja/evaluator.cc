// Statements, which write to the output; expressions are in expression_evaluator.cc. A unit of work is a node, 16 bytes of a
// string, or an element of a list.
#include "hedgehog/tokenizer/jinja/evaluator.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/jinja/value_text.h"

#include <algorithm>

namespace hedgehog::jinja {
namespace {

constexpr std::size_t kMaximumWork = 20'000'000;
constexpr int kMaximumStack = 400;  // evaluate() and execute() within one another
constexpr std::size_t kMaximumOutput = std::size_t{1} << 24;

}  // namespace

Evaluator::Depth::Depth(Evaluator& evaluator) : evaluator_(evaluator) {
  if (++evaluator_.depth_ > kMaximumStack) {
    throw TemplateError("macros and expressions are nested too deep");
  }
}

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
    for (const auto& [variable, value] : scope->variables) {
      if (variable == name) {
        return &value;
      }
    }
  }
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [variable, old] : variables) {
    if (variable == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

std::string Evaluator::run(const Body& body, std::vector<std::pair<std::string, Value>> variables) {
  std::string output;
  output_ = &output;
  Scope scope{nullptr, std::move(variables)};
  try {
    execute(body, scope);
  } catch (const TemplateError& error) {
    fail("chat template, line {}: {}", line_, error.what());
  }
  return output;
}

void Evaluator::charge(std::size_t work) {
  work_ += work;
  if (work_ > kMaximumWork) {
    throw TemplateError("the template runs too long");
  }
}

void Evaluator::charge(const Value& value) {
  charge(1 + (value.is_string() ? value.text().size() / 16 : value.is_list() ? value.items().size() : 0));
}

void Evaluator::write(const std::string& text) {
  charge(text.size() / 16);
  if (output_->size() + text.size() > kMaximumOutput) {
    throw TemplateError("the output grows too large");
  }
  output_->append(text);
}

Evaluator::Flow Evaluator::execute(const Body& body, Scope& scope) {
  for (const Statement& statement : body) {
    if (const Flow flow = execute(statement, scope); flow != Flow::kNormal) {
      return flow;
    }
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::execute(const Statement& statement, Scope& scope) {
  const Depth depth(*this);
  line_ = statement.line;
  charge(1);
  switch (statement.kind) {
    case Statement::kText:
      write(statement.text);
      break;
    case Statement::kOutput:
      write(to_text(evaluate(*statement.expression, scope)));
      break;
    case Statement::kIf:
      for (const auto& branch : statement.branches) {
        if (!branch.condition || truth(evaluate(*branch.condition, scope))) {
          return execute(branch.body, scope);
        }
      }
      break;
    case Statement::kFor:
      return run_loop(statement, scope);
    case Statement::kSet:
      assign(statement, evaluate(*statement.expression, scope), scope);
      break;
    case Statement::kSetBlock: {
      Scope inner{&scope, {}};
      scope.set(statement.targets[0], captured(statement.body, inner));
      break;
    }
    case Statement::kMacro:
      charge(64);
      macros_.push_back(std::make_unique<Macro>(Macro{&statement, &scope}));
      scope.set(statement.text, Value::Data(static_cast<const Macro*>(macros_.back().get())));
      break;
    case Statement::kFilter: {
      Scope inner{&scope, {}};
      Scope subject{&scope, {{"", captured(statement.body, inner)}}};
      write(to_text(evaluate(*statement.expression, subject)));
      break;
    }
    case Statement::kScope: {
      Scope inner{&scope, {}};
      return execute(statement.body, inner);
    }
    case Statement::kBreak:
      return Flow::kBreak;
    case Statement::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

std::string Evaluator::captured(const Body& body, Scope& scope) {
  std::string text;
  std::string* outer = std::exchange(output_, &text);
  execute(body, scope);
  output_ = outer;
  return text;
}

void Evaluator::assign(const Statement& statement, Value value, Scope& scope) {
  if (!statement.text.empty()) {
    const Value* target = scope.find(statement.text);
    if (target == nullptr || !target->is<Value::Namespace>()) {
      throw TemplateError("'" + statement.text + "' is not a namespace: its attributes cannot be set");
    }
    if (value.depth() > kMaximumDepth) {
      throw TemplateError(std::string("a namespace cannot hold a ") + value.type_name());
    }
    target->as<Value::Namespace>()->set(Value(statement.targets[0]), std::move(value));
    return;
  }
  if (statement.targets.size() == 1) {
    scope.set(statement.targets[0], std::move(value));
    return;
  }
  const std::vector<Value> parts = elements(value);
  if (parts.size() != statement.targets.size()) {
    throw TemplateError(std::to_string(parts.size()) + " values for " + std::to_string(statement.targets.size()) + " names");
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    scope.set(statement.targets[i], parts[i]);
  }
}

Evaluator::Flow Evaluator::run_loop(const Statement& statement, Scope& scope) {
  const Value source = evaluate(*statement.expression, scope);
  std::vector<Value> items = elements(source);
  charge(items.size());
  Statement targets{};  // only its targets count
  targets.targets = statement.targets;
  if (statement.condition) {
    std::vector<Value> kept;
    for (Value& item : items) {
      Scope inner{&scope, {}};
      assign(targets, item, inner);
      if (truth(evaluate(*statement.condition, inner))) {
        kept.push_back(std::move(item));
      }
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    Scope inner{&scope, {}};
    return execute(statement.else_body, inner);
  }
  LoopState loop{&items, 0};
  for (; loop.index < items.size(); ++loop.index) {
    Scope inner{&scope, {{"loop", Value::Data(static_cast<const LoopState*>(&loop))}}};
    assign(targets, items[loop.index], inner);
    if (execute(statement.body, inner) == Flow::kBreak) {
      break;
    }
  }
  return Flow::kNormal;
}

}  // namespace hedgehog::jinja

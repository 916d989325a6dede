// The part of evaluator.h that gives expressions their values.
#include "hedgehog/tokenizer/jinja/evaluator.h"
#include "hedgehog/tokenizer/jinja/value_text.h"

#include <algorithm>

namespace hedgehog::jinja {
namespace {

constexpr std::string_view kFunctions[] = {"range", "namespace", "dict", "raise_exception", "strftime_now"};

Value loop_attribute(const LoopState& loop, std::string_view name) {
  const auto index = static_cast<std::int64_t>(loop.index);
  const auto length = static_cast<std::int64_t>(loop.items->size());
  const auto neighbour = [&](std::int64_t i) {
    return i >= 0 && i < length ? (*loop.items)[static_cast<std::size_t>(i)] : Value::undefined("no neighbour in the loop");
  };
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == length;
  if (name == "length") return length;
  if (name == "revindex") return length - index;
  if (name == "revindex0") return length - index - 1;
  if (name == "previtem") return neighbour(index - 1);
  if (name == "nextitem") return neighbour(index + 1);
  if (name == "depth" || name == "depth0") return std::int64_t{name == "depth"};  // recursive loops alone go deeper
  return Value::undefined("loop." + std::string(name));
}

[[noreturn]] void undefined(const std::string& name) {
  throw TemplateError("'" + name + "' is undefined");
}

}  // namespace

Value Evaluator::name_of(const std::string& name, const Scope& scope) const {
  if (const Value* found = scope.find(name)) {
    return *found;
  }
  if (std::find(std::begin(kFunctions), std::end(kFunctions), name) != std::end(kFunctions)) {
    return Value::Data(Function{name});
  }
  return Value::undefined(name);
}

Value Evaluator::evaluate(const Expression& node, const Scope& scope) {
  const Depth depth(*this);
  charge(1);
  line_ = node.line;
  const auto child = [&](std::size_t i) { return evaluate(*node.arguments[i], scope); };
  switch (node.kind) {
    case Expression::kConstant:
      return node.value;
    case Expression::kName:
      return name_of(node.text, scope);
    case Expression::kList:
    case Expression::kTuple: {
      std::vector<Value> items;
      for (std::size_t i = 0; i < node.arguments.size(); ++i) {
        items.push_back(child(i));
      }
      return Value::list(std::move(items), node.kind == Expression::kTuple);
    }
    case Expression::kDict: {
      std::vector<std::pair<Value, Value>> entries;
      for (std::size_t i = 0; i + 1 < node.arguments.size(); i += 2) {
        Value key = child(i);
        entries.emplace_back(std::move(key), child(i + 1));
      }
      charge(entries.size() * entries.size() / 16);
      return Value::dict(std::move(entries));
    }
    case Expression::kUnary: {
      const Value value = child(0);
      return node.text == "not" ? Value(!truth(value)) : arithmetic(node.text, Value(std::int64_t{0}), value);
    }
    case Expression::kBinary:
      return evaluate_binary(node, scope);
    case Expression::kCompare:
      return evaluate_compare(node, scope);
    case Expression::kCondition:
      if (truth(child(0))) {
        return child(1);
      }
      return node.arguments.size() > 2 ? child(2) : Value::undefined("the other case of an inline if");
    case Expression::kAttribute:
      return attribute(child(0), node.text);
    case Expression::kItem: {
      const Value container = child(0);
      charge(container);
      const Value key = child(1);
      line_ = node.line;
      Value item = item_of(container, key);
      return item.is<Undefined>() && key.is_string() ? attribute(container, key.text()) : item;
    }
    case Expression::kSlice: {
      const Value container = child(0);
      charge(container);
      const auto bound = [&](std::size_t i) { return node.arguments[i] ? child(i) : Value::none(); };
      const Value begin = bound(1), end = bound(2);
      return slice_of(container, begin, end, bound(3));
    }
    case Expression::kCall:
      return evaluate_call(node, scope);
    case Expression::kFilter: {
      const Value value = child(0);
      const Arguments arguments = arguments_of(node, scope);
      line_ = node.line;
      charge(value);
      Value result = apply_filter(node.text, value, arguments);
      charge(result);
      return result;
    }
    case Expression::kTest: {
      const Value value = child(0);
      const Arguments arguments = arguments_of(node, scope);
      line_ = node.line;
      charge(value);
      return apply_test(node.text, value, arguments);
    }
  }
  return {};
}

Value Evaluator::evaluate_binary(const Expression& node, const Scope& scope) {
  Value left = evaluate(*node.arguments[0], scope);
  if (node.text == "and" || node.text == "or") {
    return truth(left) == (node.text == "or") ? left : evaluate(*node.arguments[1], scope);
  }
  const Value right = evaluate(*node.arguments[1], scope);
  line_ = node.line;
  Value result = arithmetic(node.text, left, right);
  charge(result);
  return result;
}

Value Evaluator::evaluate_compare(const Expression& node, const Scope& scope) {
  Value left = evaluate(*node.arguments[0], scope);
  for (std::size_t i = 0; i < node.operators.size(); ++i) {
    Value right = evaluate(*node.arguments[i + 1], scope);
    line_ = node.line;
    charge(left);
    charge(right);
    const auto is_container = [](const Value& value) { return value.is_list() || value.is_dict(); };
    if (is_container(left) && is_container(right)) {  // compared item by item, all the way down
      charge((left.size() + right.size()) / 8);
    }
    const std::string& name = node.operators[i];
    const bool holds = name == "=="       ? equal(left, right)
                       : name == "!="     ? !equal(left, right)
                       : name == "in"     ? contains(right, left)
                       : name == "not in" ? !contains(right, left)
                       : name == "<"      ? compare(left, right) < 0
                       : name == "<="     ? compare(left, right) <= 0
                       : name == ">"      ? compare(left, right) > 0
                                          : compare(left, right) >= 0;
    if (!holds) {
      return false;
    }
    left = std::move(right);
  }
  return true;
}

// object.name: a method first, then what is stored under the name.
Value Evaluator::attribute(const Value& object, const std::string& name) {
  if (object.is<Undefined>()) {
    undefined(object.as<Undefined>().name);
  }
  if (object.is<const LoopState*>()) {
    return loop_attribute(*object.as<const LoopState*>(), name);
  }
  if (has_method(object, name)) {
    return Value::Data(Method{std::make_shared<const Value>(object), name});
  }
  if (object.is_dict() || object.is<Value::Namespace>()) {
    return item_of(object, Value(name));
  }
  return Value::undefined(name);
}

Arguments Evaluator::arguments_of(const Expression& node, const Scope& scope) {
  Arguments arguments;
  for (std::size_t i = 1; i < node.arguments.size(); ++i) {
    arguments.positional.push_back(evaluate(*node.arguments[i], scope));
  }
  for (const auto& [name, value] : node.named) {
    arguments.named.emplace_back(name, evaluate(*value, scope));
  }
  return arguments;
}

Value Evaluator::evaluate_call(const Expression& node, const Scope& scope) {
  const Value callee = evaluate(*node.arguments[0], scope);
  const Arguments arguments = arguments_of(node, scope);
  line_ = node.line;
  Value result;
  if (callee.is<Method>()) {
    const Method& method = callee.as<Method>();
    charge(*method.object);
    result = call_method(*method.object, method.name, arguments);
  } else if (callee.is<const Macro*>()) {
    result = call_macro(*callee.as<const Macro*>(), arguments);
  } else if (callee.is<Function>() && callee.as<Function>().name == "namespace") {
    auto space = std::make_shared<Mapping>();
    for (const auto& [name, value] : arguments.named) {
      if (value.depth() > kMaximumDepth) {
        throw TemplateError(std::string("a namespace cannot hold a ") + value.type_name());
      }
      space->set(Value(name), value);
    }
    return Value::Data(Value::Namespace(std::move(space)));
  } else if (callee.is<Function>()) {
    result = call_function(callee.as<Function>().name, arguments);
  } else if (callee.is<Undefined>()) {
    undefined(callee.as<Undefined>().name);
  } else {
    throw TemplateError(std::string(callee.type_name()) + " cannot be called");
  }
  charge(result);
  return result;
}

Value Evaluator::call_macro(const Macro& macro, const Arguments& arguments) {
  const Statement& statement = *macro.statement;
  if (arguments.positional.size() > statement.parameters.size()) {
    throw TemplateError("macro '" + statement.text + "' takes " + std::to_string(statement.parameters.size()) + " arguments");
  }
  Scope scope{macro.scope, {}};
  for (std::size_t i = 0; i < statement.parameters.size(); ++i) {
    const auto& [name, otherwise] = statement.parameters[i];
    if (const Value* given = arguments.find(i, name)) {
      scope.set(name, *given);
    } else {
      scope.set(name, otherwise ? evaluate(*otherwise, scope) : Value::undefined(name));
    }
  }
  return captured(statement.body, scope);
}

}  // namespace hedgehog::jinja

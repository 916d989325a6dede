// Filters, tests, methods of strings and dicts, and arithmetic: all that needs no variables.
#pragma once

#include "hedgehog/tokenizer/jinja/value.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hedgehog::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The argument at `position` or of that name; null if it was not given.
  const Value* find(std::size_t position, std::string_view name) const;
  const Value& required(std::size_t position, std::string_view name) const;
};

/// left OP right for + - * / // % ** ~. Throws TemplateError for types that don't go together, and for overflow.
Value arithmetic(std::string_view name, const Value& left, const Value& right);

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments);
bool apply_test(std::string_view name, const Value& value, const Arguments& arguments);

bool has_method(const Value& object, std::string_view name);
Value call_method(const Value& object, std::string_view name, const Arguments& arguments);
/// range, dict, raise_exception, strftime_now.
Value call_function(std::string_view name, const Arguments& arguments);

}  // namespace hedgehog::jinja

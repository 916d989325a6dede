// Arguments, arithmetic, tests and functions. Filters are in filters.cc, methods in methods.cc.
#include "hedgehog/tokenizer/jinja/builtins.h"
#include "hedgehog/tokenizer/jinja/value_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>

namespace hedgehog::jinja {
namespace {

constexpr std::size_t kMaximumBytes = std::size_t{1} << 24;  // of a string that an operator makes
constexpr std::size_t kMaximumItems = std::size_t{1} << 20;  // and of a list
constexpr std::int64_t kMaximumRange = 100000;               // as in Jinja's sandbox

[[noreturn]] void no_operator(std::string_view name, const Value& left, const Value& right) {
  for (const Value* side : {&left, &right}) {
    if (side->is<Undefined>()) {
      throw TemplateError("'" + side->as<Undefined>().name + "' is undefined");
    }
  }
  throw TemplateError("'" + std::string(name) + "' does not go with " + left.type_name() + " and " + right.type_name());
}

void check_size(std::size_t size, const Value& kind) {
  const std::size_t limit = kind.is_list() ? kMaximumItems : kMaximumBytes;
  if (size > limit) {
    throw TemplateError(std::string("a ") + kind.type_name() + " grows larger than " + std::to_string(limit));
  }
}

Value repeat(const Value& value, std::int64_t count) {
  const std::size_t size = value.is_string() ? value.text().size() : value.items().size();
  if (count <= 0 || size == 0) {
    return value.is_string() ? Value("") : Value::list({}, value.as<Value::List>()->is_tuple);
  }
  check_size(static_cast<std::size_t>(count), value);
  check_size(size * static_cast<std::size_t>(count), value);
  if (value.is_string()) {
    std::string text;
    for (; count > 0; --count) {
      text += value.text();
    }
    return text;
  }
  std::vector<Value> items;
  for (; count > 0; --count) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return Value::list(std::move(items), value.as<Value::List>()->is_tuple);
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

std::int64_t integer_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(result, base, &result)) {
      throw TemplateError("integer overflow");
    }
    if (base == 0 || base == 1) {
      break;
    }
    if (base == -1) {
      return exponent % 2 == 0 ? 1 : -1;
    }
  }
  return result;
}

Value integer_arithmetic(std::string_view name, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  if (name == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (name == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (name == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (name == "**") {
    return b >= 0 ? Value(integer_power(a, b)) : Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
  } else {
    if (b == 0) {
      throw TemplateError("division by zero");
    }
    if (name == "/") {
      return static_cast<double>(a) / static_cast<double>(b);
    }
    overflow = b == -1 && a == INT64_MIN;
    if (!overflow) {
      result = name == "//" ? floor_divide(a, b) : a - floor_divide(a, b) * b;
    }
  }
  if (overflow) {
    throw TemplateError("integer overflow");
  }
  return result;
}

Value float_arithmetic(std::string_view name, double a, double b) {
  if (name == "+") return a + b;
  if (name == "-") return a - b;
  if (name == "*") return a * b;
  if (name == "**") return std::pow(a, b);
  if (b == 0) {
    throw TemplateError("division by zero");
  }
  if (name == "/") return a / b;
  if (name == "//") return std::floor(a / b);
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value strftime_now(const Value& format) {
  if (!format.is_string() || format.text().size() > 200) {
    throw TemplateError("strftime_now takes a short format string");
  }
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 4096> buffer;
  return std::string(buffer.data(), std::strftime(buffer.data(), buffer.size(), format.text().c_str(), &local));
}

Value range(const Arguments& arguments) {
  std::int64_t bounds[3] = {0, 0, 1};
  const std::size_t count = arguments.positional.size();
  if (count < 1 || count > 3) {
    throw TemplateError("range takes one to three integers");
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Value& value = arguments.positional[i];
    if (!value.is_integer() || std::abs(value.number()) > 1e15) {
      throw TemplateError("range takes integers of moderate size");
    }
    bounds[count == 1 ? 1 : i] = value.integer();
  }
  const auto [begin, end, step] = bounds;
  if (step == 0) {
    throw TemplateError("range: the step cannot be zero");
  }
  const std::int64_t steps = step > 0 ? (end - begin + step - 1) / step : (begin - end - step - 1) / -step;
  if (steps > kMaximumRange) {
    throw TemplateError("range is longer than " + std::to_string(kMaximumRange));
  }
  std::vector<Value> items;
  for (std::int64_t i = 0; i < steps; ++i) {
    items.emplace_back(begin + i * step);
  }
  return Value::list(std::move(items));
}

bool has_case(const Value& value, bool upper) {
  if (!value.is_string()) {
    return false;
  }
  bool any = false;
  for (const char c : value.text()) {
    const bool is_upper = c >= 'A' && c <= 'Z';
    const bool is_lower = c >= 'a' && c <= 'z';
    if (upper ? is_lower : is_upper) {
      return false;
    }
    any = any || is_upper || is_lower;
  }
  return any;
}

}  // namespace

const Value* Arguments::find(std::size_t position, std::string_view name) const {
  if (position < positional.size()) {
    return &positional[position];
  }
  for (const auto& [given, value] : named) {
    if (given == name) {
      return &value;
    }
  }
  return nullptr;
}

const Value& Arguments::required(std::size_t position, std::string_view name) const {
  const Value* found = find(position, name);
  if (found == nullptr) {
    throw TemplateError("the argument '" + std::string(name) + "' is missing");
  }
  return *found;
}

Value arithmetic(std::string_view name, const Value& left, const Value& right) {
  if (name == "~") {
    std::string text = to_text(left);
    const std::string tail = to_text(right);
    check_size(text.size() + tail.size(), Value(""));
    return text += tail;
  }
  if (left.is_integer() && right.is_integer()) {
    return integer_arithmetic(name, left.integer(), right.integer());
  }
  if (left.is_number() && right.is_number()) {
    return float_arithmetic(name, left.number(), right.number());
  }
  if (name == "+" && left.is_string() && right.is_string()) {
    check_size(left.text().size() + right.text().size(), left);
    return left.text() + right.text();
  }
  if (name == "+" && left.is_list() && right.is_list()) {
    std::vector<Value> items = left.items();
    check_size(items.size() + right.items().size(), left);
    items.insert(items.end(), right.items().begin(), right.items().end());
    return Value::list(std::move(items), left.as<Value::List>()->is_tuple);
  }
  const auto repeatable = [](const Value& value) { return value.is_string() || value.is_list(); };
  if (name == "*" && repeatable(left) && right.is_integer()) {
    return repeat(left, right.integer());
  }
  if (name == "*" && left.is_integer() && repeatable(right)) {
    return repeat(right, left.integer());
  }
  no_operator(name, left, right);
}

bool apply_test(std::string_view name, const Value& value, const Arguments& arguments) {
  const auto other = [&]() -> const Value& { return arguments.required(0, "other"); };
  const bool is_number = value.is_number();
  if (name == "defined") return !value.is<Undefined>();
  if (name == "undefined") return value.is<Undefined>();
  if (name == "none") return value.is<None>();
  if (name == "string") return value.is_string();
  if (name == "mapping") return value.is_dict();
  if (name == "sequence") return value.is_list() || value.is_string() || value.is_dict() || value.is<Undefined>();
  if (name == "iterable") return value.is_list() || value.is_string() || value.is_dict() || value.is<Undefined>();
  if (name == "number") return is_number;
  if (name == "integer") return value.is<std::int64_t>();
  if (name == "float") return value.is<double>();
  if (name == "boolean") return value.is<bool>();
  if (name == "true") return value.is<bool>() && value.as<bool>();
  if (name == "false") return value.is<bool>() && !value.as<bool>();
  if (name == "callable") return value.is<const Macro*>() || value.is<Function>() || value.is<Method>();
  if (name == "lower" || name == "upper") return has_case(value, name == "upper");
  if (name == "eq" || name == "equalto" || name == "sameas") return equal(value, other());
  if (name == "ne") return !equal(value, other());
  if (name == "lt" || name == "lessthan") return compare(value, other()) < 0;
  if (name == "le") return compare(value, other()) <= 0;
  if (name == "gt" || name == "greaterthan") return compare(value, other()) > 0;
  if (name == "ge") return compare(value, other()) >= 0;
  if (name == "in") return contains(other(), value);
  if (name == "odd") return arithmetic("%", value, std::int64_t{2}).number() == 1;
  if (name == "even") return arithmetic("%", value, std::int64_t{2}).number() == 0;
  if (name == "divisibleby") return arithmetic("%", value, other()).number() == 0;
  throw TemplateError("unknown test '" + std::string(name) + "'");
}

Value call_function(std::string_view name, const Arguments& arguments) {
  if (name == "range") {
    return range(arguments);
  }
  if (name == "strftime_now") {
    return strftime_now(arguments.required(0, "format"));
  }
  if (name == "raise_exception") {
    throw TemplateError("the template refuses: " + to_text(arguments.required(0, "message")));
  }
  if (name == "dict" && arguments.positional.empty()) {
    std::vector<std::pair<Value, Value>> entries;
    for (const auto& [key, value] : arguments.named) {
      entries.emplace_back(key, value);
    }
    return Value::dict(std::move(entries));
  }
  throw TemplateError("'" + std::string(name) + "' cannot be called like this");
}

}  // namespace hedgehog::jinja

// Filters, by name.
#include "hedgehog/tokenizer/jinja/builtins.h"
#include "hedgehog/tokenizer/jinja/text.h"
#include "hedgehog/tokenizer/jinja/value_text.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>

namespace hedgehog::jinja {
namespace {

[[noreturn]] void wrong_type(std::string_view filter, const Value& value) {
  if (value.is<Undefined>()) {
    throw TemplateError(std::string(filter) + ": '" + value.as<Undefined>().name + "' is undefined");
  }
  throw TemplateError("the filter '" + std::string(filter) + "' does not take " + value.type_name());
}

std::int64_t length(const Value& value) {
  if (value.is_string()) return static_cast<std::int64_t>(characters(value.text()).size());
  if (value.is_list()) return static_cast<std::int64_t>(value.items().size());
  if (value.is_dict()) return static_cast<std::int64_t>(value.entries().size());
  if (value.is<Undefined>()) return 0;
  wrong_type("length", value);
}

Value tojson(const Value& value, const Arguments& arguments) {
  const Value* indent = arguments.find(1, "indent");
  const Value* sort_keys = arguments.find(3, "sort_keys");
  if (arguments.find(0, "ensure_ascii") != nullptr && truth(*arguments.find(0, "ensure_ascii"))) {
    throw TemplateError("tojson: ensure_ascii is not known");
  }
  const bool indented = indent != nullptr && !indent->is<None>();
  if (indented && (!indent->is_integer() || indent->integer() < 0 || indent->integer() > 16)) {
    throw TemplateError("tojson: indent should be an integer from 0 to 16");
  }
  return to_json(value, indented ? static_cast<int>(indent->integer()) : -1, sort_keys != nullptr && truth(*sort_keys));
}

// value.attribute, where attribute may be a path: "function.name", or a number.
Value path_of(Value value, const Value& path) {
  if (path.is_integer()) {
    return item_of(value, path);
  }
  const std::string dot = ".";
  for (const std::string& name : split(to_text(path), &dot, -1)) {
    value = item_of(value, Value(name));
  }
  return value;
}

Value join(const Value& value, const Arguments& arguments) {
  const Value* separator = arguments.find(0, "d");
  const Value* attribute = arguments.find(1, "attribute");
  std::string text;
  bool first = true;
  for (const Value& item : elements(value)) {
    if (!first && separator != nullptr) {
      text += to_text(*separator);
    }
    text += to_text(attribute != nullptr ? path_of(item, *attribute) : item);
    if (text.size() > std::size_t{1} << 24) {
      throw TemplateError("join: the result grows too large");
    }
    first = false;
  }
  return text;
}

Value first_or_last(const Value& value, bool first) {
  const std::vector<Value> items = elements(value);
  return items.empty() ? Value::undefined("element") : first ? items.front() : items.back();
}

Value to_integer(const Value& value, const Arguments& arguments) {
  const Value* otherwise = arguments.find(0, "default");
  const Value fallback = otherwise != nullptr ? *otherwise : Value(std::int64_t{0});
  if (value.is_integer()) {
    return value.integer();
  }
  double number = 0;
  if (value.is<double>()) {
    number = value.as<double>();
  } else if (value.is_string()) {
    const std::string text = strip(value.text(), nullptr, true, true);
    char* end = nullptr;
    number = std::strtod(text.c_str(), &end);
    if (text.empty() || end != text.c_str() + text.size()) {
      return fallback;
    }
  } else {
    return fallback;
  }
  return std::abs(number) < 9e18 ? Value(static_cast<std::int64_t>(number)) : fallback;
}

Value to_float(const Value& value, const Arguments& arguments) {
  const Value* otherwise = arguments.find(0, "default");
  if (value.is_number()) {
    return value.number();
  }
  if (value.is_string()) {
    const std::string text = strip(value.text(), nullptr, true, true);
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    if (!text.empty() && end == text.c_str() + text.size()) {
      return number;
    }
  }
  return otherwise != nullptr ? *otherwise : Value(0.0);
}

// select, reject, selectattr, rejectattr: keeps the items that a test holds (or does not hold) for.
Value select(std::string_view name, const Value& value, const Arguments& arguments) {
  const bool by_attribute = name.ends_with("attr");
  const bool keep = name.starts_with("select");
  const std::size_t test_at = by_attribute ? 1 : 0;
  std::vector<Value> kept;
  for (const Value& item : elements(value)) {
    const Value subject = by_attribute ? path_of(item, arguments.required(0, "attribute")) : item;
    bool holds = false;
    if (const Value* test = arguments.find(test_at, "test")) {
      Arguments rest;
      rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(test_at) + 1,
                             arguments.positional.end());
      holds = apply_test(to_text(*test), subject, rest);
    } else {
      holds = truth(subject);
    }
    if (holds == keep) {
      kept.push_back(item);
    }
  }
  return Value::list(std::move(kept));
}

Value map_filter(const Value& value, const Arguments& arguments) {
  std::vector<Value> result;
  const Value* attribute = arguments.positional.empty() ? arguments.find(0, "attribute") : nullptr;
  const Value* otherwise = arguments.find(SIZE_MAX, "default");
  for (const Value& item : elements(value)) {
    if (attribute != nullptr) {
      Value found = path_of(item, *attribute);
      if (found.is<Undefined>() && otherwise != nullptr) found = *otherwise;
      result.push_back(std::move(found));
    } else {
      Arguments rest;
      const std::string name = to_text(arguments.required(0, "filter"));
      rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
      if (name == "map") {
        throw TemplateError("map of map is not known");
      }
      result.push_back(apply_filter(name, item, rest));
    }
  }
  return Value::list(std::move(result));
}

Value sort(const Value& value, const Arguments& arguments) {
  std::vector<Value> items = elements(value);
  const Value* reverse = arguments.find(0, "reverse");
  const Value* attribute = arguments.find(2, "attribute");
  const auto key = [&](const Value& item) {
    Value found = attribute != nullptr ? path_of(item, *attribute) : item;
    return found.is_string() ? Value(lower(found.text())) : found;
  };
  const bool backwards = reverse != nullptr && truth(*reverse);
  for (const Value& item : items) {
    compare(key(item), key(items[0]));  // values without an order throw here, not inside the sort
  }
  std::stable_sort(items.begin(), items.end(), [&](const Value& a, const Value& b) {
    return backwards ? compare(key(b), key(a)) < 0 : compare(key(a), key(b)) < 0;
  });
  return Value::list(std::move(items));
}

Value reverse(const Value& value) {
  std::vector<Value> items = elements(value);
  std::reverse(items.begin(), items.end());
  if (!value.is_string()) {
    return Value::list(std::move(items));
  }
  std::string text;
  for (const Value& item : items) {
    text += item.text();
  }
  return text;
}

Value indent(const Value& value, const Arguments& arguments) {
  const Value* width = arguments.find(0, "width");
  const Value* first = arguments.find(1, "first");
  const Value* blank = arguments.find(2, "blank");
  if (width != nullptr && (!width->is_integer() || width->integer() < 0 || width->integer() > 1000) && !width->is_string()) {
    throw TemplateError("indent: the width should be an integer from 0 to 1000, or a string");
  }
  const std::string margin = width == nullptr     ? std::string(4, ' ')
                             : width->is_string() ? width->text()
                                                  : std::string(static_cast<std::size_t>(width->integer()), ' ');
  const std::string newline = "\n";
  std::string result;
  bool at_first = true;
  for (const std::string& line : split(to_text(value), &newline, -1)) {
    const bool wanted = at_first ? first != nullptr && truth(*first) : !line.empty() || (blank != nullptr && truth(*blank));
    result.append(at_first ? "" : "\n").append(wanted ? margin : "").append(line);
    at_first = false;
  }
  return result;
}

std::string escape_html(std::string_view text) {
  std::string result;
  for (const char c : text) {
    result.append(c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&#34;" : c == '\'' ? "&#39;" : "");
    if (std::string_view("&<>\"'").find(c) == std::string_view::npos) {
      result += c;
    }
  }
  return result;
}

Value items_of(const Value& value) {
  if (value.is<Undefined>()) {
    return Value::list({});
  }
  if (!value.is_dict()) {
    wrong_type("items", value);
  }
  return call_method(value, "items", {});
}

Value unique(const Value& value) {
  constexpr std::size_t kMaximumWork = 20'000'000;
  std::vector<Value> kept;
  std::size_t work = 0;
  for (const Value& item : elements(value)) {
    work += kept.size() * (1 + item.size() / 64);
    if (work > kMaximumWork) {
      throw TemplateError("unique: too many items that differ");
    }
    if (std::none_of(kept.begin(), kept.end(), [&](const Value& other) { return equal(other, item); })) {
      kept.push_back(item);
    }
  }
  return Value::list(std::move(kept));
}

Value extreme(const Value& value, bool largest) {
  const std::vector<Value> items = elements(value);
  Value best = Value::undefined("element");
  for (const Value& item : items) {
    if (best.is<Undefined>() || (largest ? compare(item, best) > 0 : compare(item, best) < 0)) {
      best = item;
    }
  }
  return best;
}

Value sum(const Value& value) {
  Value total(std::int64_t{0});
  for (const Value& item : elements(value)) {
    total = arithmetic("+", total, item);
  }
  return total;
}

Value default_value(const Value& value, const Arguments& arguments) {
  const Value* otherwise = arguments.find(0, "default_value");
  const Value* boolean = arguments.find(1, "boolean");
  const bool missing = value.is<Undefined>() || (boolean != nullptr && truth(*boolean) && !truth(value));
  return !missing ? value : otherwise != nullptr ? *otherwise : Value("");
}

Value trim(const Value& value, const Arguments& arguments) {
  const Value* set = arguments.find(0, "chars");
  const std::string chars = set != nullptr ? to_text(*set) : "";
  return strip(to_text(value), set != nullptr && !set->is<None>() ? &chars : nullptr, true, true);
}

Value replace_filter(const Value& value, const Arguments& arguments) {
  const Value* count = arguments.find(2, "count");
  return replace(to_text(value), to_text(arguments.required(0, "old")), to_text(arguments.required(1, "new")),
                 count != nullptr && count->is_integer() ? count->integer() : -1);
}

using Filter = std::function<Value(const Value&, const Arguments&)>;

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> table = {
      {"trim", trim},
      {"length", [](const Value& v, const Arguments&) { return length(v); }},
      {"count", [](const Value& v, const Arguments&) { return length(v); }},
      {"upper", [](const Value& v, const Arguments&) { return upper(to_text(v)); }},
      {"lower", [](const Value& v, const Arguments&) { return lower(to_text(v)); }},
      {"title", [](const Value& v, const Arguments&) { return title_after_brackets(to_text(v)); }},
      {"capitalize", [](const Value& v, const Arguments&) { return capitalize(to_text(v)); }},
      {"tojson", tojson},
      {"default", default_value},
      {"d", default_value},
      {"join", join},
      {"first", [](const Value& v, const Arguments&) { return first_or_last(v, true); }},
      {"last", [](const Value& v, const Arguments&) { return first_or_last(v, false); }},
      {"replace", replace_filter},
      {"string", [](const Value& v, const Arguments&) { return Value(to_text(v)); }},
      {"int", to_integer},
      {"float", to_float},
      {"list", [](const Value& v, const Arguments&) { return Value::list(elements(v)); }},
      {"items", [](const Value& v, const Arguments&) { return items_of(v); }},
      {"map", map_filter},
      {"select", [](const Value& v, const Arguments& a) { return select("select", v, a); }},
      {"reject", [](const Value& v, const Arguments& a) { return select("reject", v, a); }},
      {"selectattr", [](const Value& v, const Arguments& a) { return select("selectattr", v, a); }},
      {"rejectattr", [](const Value& v, const Arguments& a) { return select("rejectattr", v, a); }},
      {"sort", sort},
      {"reverse", [](const Value& v, const Arguments&) { return reverse(v); }},
      {"unique", [](const Value& v, const Arguments&) { return unique(v); }},
      {"min", [](const Value& v, const Arguments&) { return extreme(v, false); }},
      {"max", [](const Value& v, const Arguments&) { return extreme(v, true); }},
      {"sum", [](const Value& v, const Arguments&) { return sum(v); }},
      {"abs",
       [](const Value& v, const Arguments&) {
         return v.is_number() && v.number() < 0 ? arithmetic("*", v, Value(std::int64_t{-1})) : v;
       }},
      {"indent", indent},
      {"safe", [](const Value& v, const Arguments&) { return v; }},
      {"escape", [](const Value& v, const Arguments&) { return Value(escape_html(to_text(v))); }},
      {"e", [](const Value& v, const Arguments&) { return Value(escape_html(to_text(v))); }},
  };
  return table;
}

}  // namespace

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments) {
  const auto found = filters().find(name);
  if (found == filters().end()) {
    throw TemplateError("unknown filter '" + std::string(name) + "'");
  }
  return found->second(value, arguments);
}

}  // namespace hedgehog::jinja

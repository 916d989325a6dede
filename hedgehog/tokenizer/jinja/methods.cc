// Methods of strings and dicts. Lists have none that a sandboxed template may call to any use.
#include "hedgehog/tokenizer/jinja/builtins.h"
#include "hedgehog/tokenizer/jinja/text.h"
#include "hedgehog/tokenizer/unicode.h"

#include <algorithm>

namespace hedgehog::jinja {
namespace {

constexpr std::string_view kTextMethods[] = {
    "strip",   "lstrip", "rstrip", "split", "startswith", "endswith", "upper",   "lower",      "title",        "capitalize",
    "replace", "join",   "find",   "count", "index",      "isdigit",  "isalpha", "splitlines", "removeprefix", "removesuffix"};
constexpr std::string_view kDictMethods[] = {"items", "keys", "values", "get"};
constexpr std::string_view kListMethods[] = {"index", "count"};

const std::string& text_of(const Value& value, std::string_view method) {
  if (!value.is_string()) {
    throw TemplateError(std::string(method) + " takes a string, not " + value.type_name());
  }
  return value.text();
}

const std::string* optional_text(const Arguments& arguments, std::size_t position, std::string_view name,
                                 std::string_view method) {
  const Value* value = arguments.find(position, name);
  return value == nullptr || value->is<None>() ? nullptr : &text_of(*value, method);
}

long optional_count(const Arguments& arguments, std::size_t position, std::string_view name) {
  const Value* value = arguments.find(position, name);
  if (value == nullptr) {
    return -1;
  }
  if (!value->is_integer()) {
    throw TemplateError("'" + std::string(name) + "' should be an integer, not " + value->type_name());
  }
  return value->integer();
}

std::int64_t count_of(std::string_view text, std::string_view part) {
  if (part.empty()) {
    return static_cast<std::int64_t>(characters(text).size()) + 1;
  }
  std::int64_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

std::int64_t position_of(std::string_view text, std::string_view part) {
  const std::size_t at = text.find(part);
  return at == std::string_view::npos ? -1 : static_cast<std::int64_t>(characters(text.substr(0, at)).size());
}

Value list_of(std::vector<std::string> parts) {
  std::vector<Value> items;
  for (std::string& part : parts) {
    items.emplace_back(std::move(part));
  }
  return Value::list(std::move(items));
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("\n\r"), text.size());
    lines.emplace_back(text.substr(0, end));
    const std::size_t width = end < text.size() && text.substr(end).starts_with("\r\n") ? 2 : 1;
    text.remove_prefix(std::min(end + width, text.size()));
  }
  return lines;
}

bool starts_or_ends(const std::string& text, const Value& what, bool starts) {
  if (what.is_list()) {
    return std::any_of(what.items().begin(), what.items().end(),
                       [&](const Value& item) { return starts_or_ends(text, item, starts); });
  }
  const std::string& part = text_of(what, starts ? "startswith" : "endswith");
  return starts ? text.starts_with(part) : text.ends_with(part);
}

bool all_of_class(std::string_view text, std::uint8_t wanted) {
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_character(text.data() + i);
    if (!(CharacterClasses::get()[c.value] & wanted)) {
      return false;
    }
    i += c.bytes;
  }
  return !text.empty();
}

Value call_text_method(const std::string& text, std::string_view name, const Arguments& arguments) {
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    return strip(text, optional_text(arguments, 0, "chars", name), name != "rstrip", name != "lstrip");
  }
  if (name == "split") {
    return list_of(split(text, optional_text(arguments, 0, "sep", name), optional_count(arguments, 1, "maxsplit")));
  }
  if (name == "startswith" || name == "endswith") {
    return starts_or_ends(text, arguments.required(0, "prefix"), name == "startswith");
  }
  if (name == "upper") return upper(text);
  if (name == "lower") return lower(text);
  if (name == "title") return title(text);
  if (name == "capitalize") return capitalize(text);
  if (name == "isdigit") return all_of_class(text, CharacterClasses::kNumber);
  if (name == "isalpha") return all_of_class(text, CharacterClasses::kLetter);
  if (name == "splitlines") return list_of(lines_of(text));
  if (name == "join") return apply_filter("join", arguments.required(0, "iterable"), {{Value(text)}, {}});
  if (name == "replace") {
    return replace(text, text_of(arguments.required(0, "old"), name), text_of(arguments.required(1, "new"), name),
                   optional_count(arguments, 2, "count"));
  }
  const std::string& part = text_of(arguments.required(0, "part"), name);
  if (name == "removeprefix") return text.starts_with(part) ? text.substr(part.size()) : text;
  if (name == "removesuffix") return text.ends_with(part) ? text.substr(0, text.size() - part.size()) : text;
  if (name == "count") return count_of(text, part);
  const std::int64_t position = position_of(text, part);
  if (name == "index" && position < 0) {
    throw TemplateError("index: substring not found");
  }
  return position;
}

Value call_dict_method(const Value& dict, std::string_view name, const Arguments& arguments) {
  if (name == "get") {
    const Value* found = dict.as<Value::Dict>()->find(arguments.required(0, "key"));
    const Value* otherwise = arguments.find(1, "default");
    return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value::none();
  }
  std::vector<Value> result;
  for (const auto& [key, value] : dict.entries()) {
    result.push_back(name == "keys" ? key : name == "values" ? value : Value::list({key, value}, true));
  }
  return Value::list(std::move(result));
}

Value call_list_method(const Value& list, std::string_view name, const Arguments& arguments) {
  const Value& wanted = arguments.required(0, "value");
  const auto& items = list.items();
  if (name == "count") {
    return static_cast<std::int64_t>(
        std::count_if(items.begin(), items.end(), [&](const Value& v) { return equal(v, wanted); }));
  }
  const auto found = std::find_if(items.begin(), items.end(), [&](const Value& v) { return equal(v, wanted); });
  if (found == items.end()) {
    throw TemplateError("index: the value is not in the list");
  }
  return static_cast<std::int64_t>(found - items.begin());
}

}  // namespace

bool has_method(const Value& object, std::string_view name) {
  const auto among = [name](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return (object.is_string() && among(kTextMethods)) || (object.is_dict() && among(kDictMethods)) ||
         (object.is_list() && among(kListMethods));
}

Value call_method(const Value& object, std::string_view name, const Arguments& arguments) {
  if (object.is_string()) {
    return call_text_method(object.text(), name, arguments);
  }
  return object.is_dict() ? call_dict_method(object, name, arguments) : call_list_method(object, name, arguments);
}

}  // namespace hedgehog::jinja

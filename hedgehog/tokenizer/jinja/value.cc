// Truth, equality, order and parts of values.
#include "hedgehog/tokenizer/jinja/value.h"

#include "hedgehog/tokenizer/jinja/value_text.h"
#include "hedgehog/tokenizer/unicode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace hedgehog::jinja {
namespace {

template <typename... Args>
[[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) {
  throw TemplateError(fmt::format(format, std::forward<Args>(args)...));
}

int nested_depth(int depth, const Value& value) {
  const int result = std::max(depth, value.depth() + 1);
  if (result > kMaximumDepth) {
    raise("a container cannot hold this {}: nested too deep, or of a kind that stays where it was made", value.type_name());
  }
  return result;
}

std::size_t grown(std::size_t size, const Value& value) {
  size += value.size();
  if (size > kMaximumSize) {
    raise("a container grows larger than {} bytes", kMaximumSize);
  }
  return size;
}

}  // namespace

Value Value::list(std::vector<Value> items, bool is_tuple) {
  Sequence sequence{{}, is_tuple};
  for (const Value& item : items) {
    sequence.depth = nested_depth(sequence.depth, item);
    sequence.size = grown(sequence.size, item);
  }
  sequence.items = std::move(items);
  return Data(std::make_shared<const Sequence>(std::move(sequence)));
}

Value Value::dict(std::vector<std::pair<Value, Value>> items) {
  Mapping mapping;
  for (auto& item : items) {
    mapping.depth = nested_depth(mapping.depth, item.second);
    mapping.depth = nested_depth(mapping.depth, item.first);
    mapping.size = grown(grown(mapping.size, item.first), item.second);
    mapping.set(item.first, std::move(item.second));
  }
  return Data(std::make_shared<const Mapping>(std::move(mapping)));
}

const std::vector<Value>& Value::items() const {
  return as<List>()->items;
}
const std::vector<std::pair<Value, Value>>& Value::entries() const {
  return as<Dict>()->entries;
}

int Value::depth() const {
  constexpr int kNowhere = 1000;
  if (is_list()) {
    return as<List>()->depth;
  }
  if (is_dict()) {
    return as<Dict>()->depth;
  }
  const bool bound = is<Namespace>() || is<const Macro*>() || is<const LoopState*>() || is<Method>();
  return bound ? kNowhere : 0;
}

std::size_t Value::size() const {
  return is_list() ? as<List>()->size : is_dict() ? as<Dict>()->size : is_string() ? text().size() + 8 : 8;
}

const char* Value::type_name() const {
  constexpr const char* kNames[] = {"undefined", "None",      "bool",  "int",  "float",  "str",     "list",
                                    "dict",      "namespace", "macro", "loop", "method", "function"};
  static_assert(std::size(kNames) == std::variant_size_v<Data>);
  return is_list() && as<List>()->is_tuple ? "tuple" : kNames[data_.index()];
}

const Value* Mapping::find(const Value& key) const {
  for (const auto& [name, value] : entries) {
    if (equal(name, key)) {
      return &value;
    }
  }
  return nullptr;
}

const Value* Mapping::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name.is_string() && name.text() == key) {
      return &value;
    }
  }
  return nullptr;
}

void Mapping::set(const Value& key, Value value) {
  for (auto& [name, old] : entries) {
    if (equal(name, key)) {
      old = std::move(value);
      return;
    }
  }
  entries.emplace_back(key, std::move(value));
}

bool truth(const Value& value) {
  if (value.is<bool>()) return value.as<bool>();
  if (value.is<std::int64_t>()) return value.as<std::int64_t>() != 0;
  if (value.is<double>()) return value.as<double>() != 0;
  if (value.is_string()) return !value.text().empty();
  if (value.is_list()) return !value.items().empty();
  if (value.is_dict()) return !value.entries().empty();
  return !value.is<Undefined>() && !value.is<None>();
}

bool equal(const Value& left, const Value& right) {
  if (left.is_integer() && right.is_integer()) return left.integer() == right.integer();
  if (left.is_number() && right.is_number()) return left.number() == right.number();
  if (left.is_string() && right.is_string()) return left.text() == right.text();
  if (left.is_list() && right.is_list()) {
    return left.as<Value::List>()->is_tuple == right.as<Value::List>()->is_tuple &&
           std::equal(left.items().begin(), left.items().end(), right.items().begin(), right.items().end(), equal);
  }
  if (left.is_dict() && right.is_dict()) {
    return left.entries().size() == right.entries().size() &&
           std::all_of(left.entries().begin(), left.entries().end(), [&](const auto& entry) {
             const Value* other = right.as<Value::Dict>()->find(entry.first);
             return other != nullptr && equal(entry.second, *other);
           });
  }
  return (left.is<None>() && right.is<None>()) || (left.is<Undefined>() && right.is<Undefined>());
}

int compare(const Value& left, const Value& right) {
  if (left.is_integer() && right.is_integer()) {
    return left.integer() < right.integer() ? -1 : left.integer() > right.integer();
  }
  if (left.is_number() && right.is_number()) {
    return left.number() < right.number() ? -1 : left.number() > right.number();
  }
  if (left.is_string() && right.is_string()) {
    return left.text().compare(right.text());  // the order of UTF-8 is that of code points
  }
  if (left.is_list() && right.is_list()) {
    for (std::size_t i = 0; i < left.items().size() && i < right.items().size(); ++i) {
      if (!equal(left.items()[i], right.items()[i])) {
        return compare(left.items()[i], right.items()[i]);
      }
    }
    return left.items().size() < right.items().size() ? -1 : left.items().size() > right.items().size();
  }
  raise("{} and {} have no order", left.type_name(), right.type_name());
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      raise("'in' a string asks for a string, not {}", item.type_name());
    }
    return container.text().find(item.text()) != std::string::npos;
  }
  if (container.is_dict()) {
    return container.as<Value::Dict>()->find(item) != nullptr;
  }
  if (container.is_list()) {
    return std::any_of(container.items().begin(), container.items().end(), [&](const Value& v) { return equal(v, item); });
  }
  if (container.is<Undefined>()) {
    return false;
  }
  raise("'in' cannot look into {}", container.type_name());
}

std::vector<Value> elements(const Value& value) {
  if (value.is_list()) {
    return value.items();
  }
  std::vector<Value> result;
  if (value.is_dict()) {
    for (const auto& [key, unused] : value.entries()) {
      result.push_back(key);
    }
  } else if (value.is_string()) {
    for (std::string& character : characters(value.text())) {
      result.emplace_back(std::move(character));
    }
  } else if (!value.is<Undefined>()) {
    raise("{} cannot be walked over", value.type_name());
  }
  return result;
}

Value item_of(const Value& container, const Value& key) {
  if (container.is_dict() || container.is<Value::Namespace>()) {
    const Mapping& mapping = container.is_dict() ? *container.as<Value::Dict>() : *container.as<Value::Namespace>();
    const Value* found = mapping.find(key);
    return found != nullptr ? *found : Value::undefined(key.is_string() ? key.text() : representation(key));
  }
  if ((container.is_list() || container.is_string()) && key.is_integer()) {
    const std::vector<Value> all = container.is_list() ? std::vector<Value>() : elements(container);
    const std::vector<Value>& items = container.is_list() ? container.items() : all;
    const std::int64_t size = static_cast<std::int64_t>(items.size());
    const std::int64_t index = key.integer() < 0 ? key.integer() + size : key.integer();
    return index >= 0 && index < size ? items[static_cast<std::size_t>(index)] : Value::undefined("element");
  }
  if (container.is<Undefined>()) {
    raise("'{}' is undefined", container.as<Undefined>().name);
  }
  return Value::undefined(key.is_string() ? key.text() : "element");
}

Value slice_of(const Value& container, const Value& begin, const Value& end, const Value& step) {
  if (!container.is_list() && !container.is_string()) {
    raise("{} cannot be sliced", container.type_name());
  }
  const std::vector<Value> items = elements(container);
  const std::int64_t size = static_cast<std::int64_t>(items.size());
  const auto given = [](const Value& bound) { return !bound.is<None>(); };
  for (const Value* bound : {&begin, &end, &step}) {
    if (given(*bound) && !bound->is_integer()) {
      raise("a slice takes integers, not {}", bound->type_name());
    }
  }
  const std::int64_t stride = given(step) ? std::clamp<std::int64_t>(step.integer(), -size - 1, size + 1) : 1;
  if (stride == 0) {
    raise("a slice's step cannot be zero");
  }
  const auto clamp = [&](const Value& bound, std::int64_t otherwise) {
    if (!given(bound)) {
      return otherwise;
    }
    const std::int64_t low = stride < 0 ? -1 : 0;
    const std::int64_t index = bound.integer() < 0 ? std::max(bound.integer(), -size - 1) + size : bound.integer();
    return std::clamp<std::int64_t>(index, low, stride < 0 ? size - 1 : size);
  };
  const std::int64_t first = clamp(begin, stride < 0 ? size - 1 : 0);
  const std::int64_t last = clamp(end, stride < 0 ? -1 : size);
  std::vector<Value> chosen;
  for (std::int64_t i = first; stride < 0 ? i > last : i < last; i += stride) {
    chosen.push_back(items[static_cast<std::size_t>(i)]);
  }
  if (container.is_list()) {
    return Value::list(std::move(chosen), container.as<Value::List>()->is_tuple);
  }
  std::string text;
  for (const Value& character : chosen) {
    text += character.text();
  }
  return text;
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = decode_character(text.data() + i).bytes;
    result.emplace_back(text.substr(i, length));
    i += length;
  }
  return result;
}

}  // namespace hedgehog::jinja

// The values of a template: Python's, as far as chat templates meet them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace hedgehog::jinja {

/// A mistake in a template or in what it does; the renderer adds the line and throws hedgehog::Error.
class TemplateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Value;
struct Macro;      // evaluator.h
struct LoopState;  // evaluator.h

struct Undefined {
  std::string name;  // for the error that its use will give
};
struct None {};
struct Sequence;
struct Mapping;
struct Method {  // a bound method, not yet called
  std::shared_ptr<const Value> object;
  std::string name;
};
struct Function {  // range, namespace, dict, raise_exception, strftime_now
  std::string name;
};

/// Lists and strings are shared and never changed. A namespace is a Mapping that `set` may change; it, macros and loops cannot
/// be put into lists, dicts and namespaces, so that no value ever holds itself or what is gone.
class Value {
 public:
  using Text = std::shared_ptr<const std::string>;
  using List = std::shared_ptr<const Sequence>;
  using Dict = std::shared_ptr<const Mapping>;
  using Namespace = std::shared_ptr<Mapping>;
  using Data = std::variant<Undefined, None, bool, std::int64_t, double, Text, List, Dict, Namespace, const Macro*,
                            const LoopState*, Method, Function>;

  Value() : data_(Undefined{}) {}
  Value(Data data) : data_(std::move(data)) {}                                              // NOLINT: implicit on purpose
  Value(bool value) : data_(value) {}                                                       // NOLINT
  Value(std::int64_t value) : data_(value) {}                                               // NOLINT
  Value(double value) : data_(value) {}                                                     // NOLINT
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}  // NOLINT
  Value(const char* text) : Value(std::string(text)) {}                                     // NOLINT
  static Value none() { return Value(Data(None{})); }
  static Value undefined(std::string name) { return Value(Data(Undefined{std::move(name)})); }
  static Value list(std::vector<Value> items, bool is_tuple = false);
  static Value dict(std::vector<std::pair<Value, Value>> items);

  template <typename T>
  bool is() const {
    return std::holds_alternative<T>(data_);
  }
  template <typename T>
  const T& as() const {
    return std::get<T>(data_);
  }
  bool is_string() const { return is<Text>(); }
  bool is_list() const { return is<List>(); }
  bool is_dict() const { return is<Dict>(); }
  bool is_integer() const { return is<std::int64_t>() || is<bool>(); }
  bool is_number() const { return is_integer() || is<double>(); }
  const std::string& text() const { return *as<Text>(); }
  const std::vector<Value>& items() const;
  const std::vector<std::pair<Value, Value>>& entries() const;
  std::int64_t integer() const { return is<bool>() ? as<bool>() : as<std::int64_t>(); }
  double number() const { return is<double>() ? as<double>() : static_cast<double>(integer()); }

  /// How deep containers are nested; far above kMaximumDepth for what no container may hold.
  int depth() const;
  /// Bytes of it when written out, roughly: what is shared counts as often as it is there.
  std::size_t size() const;
  /// "list", "str", ...: Python's names.
  const char* type_name() const;

 private:
  Data data_;
};

inline constexpr int kMaximumDepth = 40;
inline constexpr std::size_t kMaximumSize = std::size_t{1} << 24;  // of a container: a few nested lists could hold 10^12 items

struct Sequence {
  std::vector<Value> items;
  bool is_tuple = false;
  int depth = 1;
  std::size_t size = 8;
};

struct Mapping {
  std::vector<std::pair<Value, Value>> entries;  // in the order of insertion, keys differ
  int depth = 1;
  std::size_t size = 8;
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);
};

bool truth(const Value& value);
bool equal(const Value& left, const Value& right);
/// <0, 0, >0. Throws TemplateError for values that have no order.
int compare(const Value& left, const Value& right);
/// `item in container`.
bool contains(const Value& container, const Value& item);
/// The elements that a loop walks over: items, keys, characters. Throws TemplateError for what cannot be walked over.
std::vector<Value> elements(const Value& value);
/// container[key]; Undefined if it is not there.
Value item_of(const Value& container, const Value& key);
Value slice_of(const Value& container, const Value& begin, const Value& end, const Value& step);

std::vector<std::string> characters(std::string_view text);

}  // namespace hedgehog::jinja

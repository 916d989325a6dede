#include "hedgehog/tokenizer/jinja/value_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace hedgehog::jinja {
namespace {

std::string number_text(double value) {
  if (std::isnan(value) || std::isinf(value)) {
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  }
  std::string text = fmt::format("{}", value);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string quoted_representation(const std::string& text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string result(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      result.append(1, '\\').append(1, c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      result.append(c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    } else if (byte < 0x20 || byte == 0x7F) {
      result.append(fmt::format("\\x{:02x}", byte));
    } else {
      result += c;
    }
  }
  return result + quote;
}

std::string json_string(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"':
        result += "\\\"";
        break;
      case '\\':
        result += "\\\\";
        break;
      case '\n':
        result += "\\n";
        break;
      case '\r':
        result += "\\r";
        break;
      case '\t':
        result += "\\t";
        break;
      case '\b':
        result += "\\b";
        break;
      case '\f':
        result += "\\f";
        break;
      default:
        byte < 0x20 ? result.append(fmt::format("\\u{:04x}", byte)) : result.append(1, c);
    }
  }
  return result + "\"";
}

struct JsonWriter {
  int indent;
  bool sort_keys;

  void newline(std::string& out, int level) const {
    if (indent >= 0) {
      out.append("\n").append(static_cast<std::size_t>(level) * static_cast<std::size_t>(indent), ' ');
      if (out.size() > kMaximumSize) {
        throw TemplateError(fmt::format("JSON grows larger than {} bytes", kMaximumSize));
      }
    }
  }

  template <typename Items, typename Write>
  void write_all(std::string& out, const Items& items, const char* brackets, int level, Write write) const {
    out += brackets[0];
    bool first = true;
    for (const auto& item : items) {
      out += first ? "" : indent >= 0 ? "," : ", ";
      newline(out, level + 1);
      write(item);
      first = false;
    }
    if (!first) {
      newline(out, level);
    }
    out += brackets[1];
  }

  void write(std::string& out, const Value& value, int level) const {
    if (value.is_string()) {
      out += json_string(value.text());
    } else if (value.is<None>()) {
      out += "null";
    } else if (value.is<bool>()) {
      out += value.as<bool>() ? "true" : "false";
    } else if (value.is<std::int64_t>()) {
      out += std::to_string(value.as<std::int64_t>());
    } else if (value.is<double>()) {
      const double number = value.as<double>();
      out += std::isnan(number) ? "NaN" : std::isinf(number) ? (number > 0 ? "Infinity" : "-Infinity") : number_text(number);
    } else if (value.is_list()) {
      write_all(out, value.items(), "[]", level, [&](const Value& item) { write(out, item, level + 1); });
    } else if (value.is_dict()) {
      auto entries = value.entries();
      if (sort_keys) {
        std::stable_sort(entries.begin(), entries.end(),
                         [](const auto& a, const auto& b) { return compare(a.first, b.first) < 0; });
      }
      write_all(out, entries, "{}", level, [&](const auto& entry) {
        std::string key;
        if (entry.first.is_string()) {
          key = entry.first.text();
        } else {
          write(key, entry.first, 0);
        }
        out += json_string(key) + ": ";
        write(out, entry.second, level + 1);
      });
    } else {
      throw TemplateError(fmt::format("{} is not JSON serializable", value.type_name()));
    }
  }
};

}  // namespace

std::string to_text(const Value& value) {
  if (value.is_string()) return value.text();
  return value.is<Undefined>() ? std::string() : representation(value);
}

std::string representation(const Value& value) {
  if (value.is_string()) return quoted_representation(value.text());
  if (value.is<None>()) return "None";
  if (value.is<Undefined>()) return "Undefined";
  if (value.is<bool>()) return value.as<bool>() ? "True" : "False";
  if (value.is<std::int64_t>()) return std::to_string(value.as<std::int64_t>());
  if (value.is<double>()) return number_text(value.as<double>());
  std::string result;
  if (value.is_list()) {
    const bool is_tuple = value.as<Value::List>()->is_tuple;
    for (const Value& item : value.items()) {
      result.append(result.empty() ? "" : ", ").append(representation(item));
    }
    const char* single = is_tuple && value.items().size() == 1 ? "," : "";
    return (is_tuple ? "(" : "[") + result + single + (is_tuple ? ")" : "]");
  }
  if (value.is_dict()) {
    for (const auto& [key, item] : value.entries()) {
      result.append(result.empty() ? "" : ", ").append(representation(key)).append(": ").append(representation(item));
    }
    return "{" + result + "}";
  }
  throw TemplateError(fmt::format("a {} has no text", value.type_name()));
}

std::string to_json(const Value& value, int indent, bool sort_keys) {
  std::string out;
  JsonWriter{indent, sort_keys}.write(out, value, 0);
  return out;
}

}  // namespace hedgehog::jinja

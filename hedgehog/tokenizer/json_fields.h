// Reading fields of tokenizer.json with errors that say where.
#pragma once

#include "hedgehog/base/error.h"

#include <nlohmann/json.hpp>

#include <string>

namespace hedgehog {

/// How deep Sequence may hold Sequence.
inline constexpr int kMaximumNesting = 16;

inline const nlohmann::json& field(const nlohmann::json& object, const char* name, const char* where) {
  check(object.is_object(), "tokenizer.json: {}: expected an object, found {}", where, object.type_name());
  const auto found = object.find(name);
  check(found != object.end(), "tokenizer.json: {}: '{}' is missing", where, name);
  return *found;
}

inline std::string string_field(const nlohmann::json& object, const char* name, const char* where) {
  const nlohmann::json& value = field(object, name, where);
  check(value.is_string(), "tokenizer.json: {}: '{}' should be a string, found {}", where, name, value.type_name());
  return value.get<std::string>();
}

inline const nlohmann::json& array_field(const nlohmann::json& object, const char* name, const char* where) {
  const nlohmann::json& value = field(object, name, where);
  check(value.is_array(), "tokenizer.json: {}: '{}' should be an array, found {}", where, name, value.type_name());
  return value;
}

inline const nlohmann::json& object_field(const nlohmann::json& object, const char* name, const char* where) {
  const nlohmann::json& value = field(object, name, where);
  check(value.is_object(), "tokenizer.json: {}: '{}' should be an object, found {}", where, name, value.type_name());
  return value;
}

/// A flag that may be absent or null.
inline bool flag_field(const nlohmann::json& object, const char* name, bool otherwise) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) {
    return otherwise;
  }
  check(found->is_boolean(), "tokenizer.json: '{}' should be true or false, found {}", name, found->type_name());
  return found->get<bool>();
}

/// A field that may be absent; a null counts as absent.
inline const nlohmann::json* optional_field(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

/// A count: an integer that is not negative.
inline std::uint64_t count_field(const nlohmann::json& object, const char* name, const char* where) {
  const nlohmann::json& value = field(object, name, where);
  const bool count = value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0);
  check(count, "tokenizer.json: {}: '{}' should be a count, found {}", where, name, value.dump().substr(0, 40));
  return value.get<std::uint64_t>();
}

/// An id: an integer from 0 to 2^31 - 1.
inline std::int32_t id_value(const nlohmann::json& value, const char* where) {
  // Ids from 2^63 on are unsigned in nlohmann's terms, and negative if read as signed.
  const std::int64_t id = value.is_number_integer() ? value.get<std::int64_t>() : -1;
  check(id >= 0 && id <= 0x7FFFFFFF, "tokenizer.json: {}: expected an id from 0 to 2147483647, found {}", where,
        value.dump().substr(0, 40));
  return static_cast<std::int32_t>(id);
}

}  // namespace hedgehog

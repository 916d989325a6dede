// Reading JSON that nobody vouches for: every field by name, type and range, with errors that name file and key.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

namespace hedgehog {

class JsonFields {
 public:
  /// `where` is what errors call the object: "config.json". Throws Error unless `json` is an object. Refers to `json`.
  JsonFields(const nlohmann::json& json, std::string where);

  /// Present and not null.
  bool has(const std::string& key) const;
  /// All of these throw Error for a missing key, another type, a value out of [least, most].
  std::int64_t integer(const std::string& key, std::int64_t least, std::int64_t most) const;
  double number(const std::string& key, double least, double most) const;
  bool boolean(const std::string& key) const;
  std::string text(const std::string& key) const;
  JsonFields object(const std::string& key) const;
  const nlohmann::json& array(const std::string& key) const;

  std::int64_t integer_or(const std::string& key, std::int64_t otherwise, std::int64_t least, std::int64_t most) const {
    return has(key) ? integer(key, least, most) : otherwise;
  }
  double number_or(const std::string& key, double otherwise, double least, double most) const {
    return has(key) ? number(key, least, most) : otherwise;
  }
  bool boolean_or(const std::string& key, bool otherwise) const { return has(key) ? boolean(key) : otherwise; }
  std::string text_or(const std::string& key, const std::string& otherwise) const { return has(key) ? text(key) : otherwise; }

  const nlohmann::json& value() const { return *json_; }
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& at(const std::string& key, const char* expected) const;
  const nlohmann::json* json_;
  std::string where_;
};

/// A value for an error message: short, and safe for any depth.
std::string brief(const nlohmann::json& value);

}  // namespace hedgehog

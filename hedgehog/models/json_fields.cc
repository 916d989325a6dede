// See json_fields.h.
#include "hedgehog/models/json_fields.h"

#include "hedgehog/base/error.h"

#include <cmath>
#include <limits>

namespace hedgehog {

using nlohmann::json;

std::string brief(const json& value) {
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() <= 60) return text;
  std::size_t end = 60;
  while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
  text.resize(end);
  text += "…";
  return text;
}

JsonFields::JsonFields(const json& json, std::string where) : json_(&json), where_(std::move(where)) {
  check(json.is_object(), "{}: expected an object, found {}", where_, brief(json));
}

bool JsonFields::has(const std::string& key) const {
  const auto found = json_->find(key);
  return found != json_->end() && !found->is_null();
}

const json& JsonFields::at(const std::string& key, const char* expected) const {
  const auto found = json_->find(key);
  check(found != json_->end(), "{}: \"{}\" is missing, expected {}", where_, key, expected);
  return *found;
}

std::int64_t JsonFields::integer(const std::string& key, std::int64_t least, std::int64_t most) const {
  const json& value = at(key, "an integer");
  bool fits = value.is_number_integer();
  if (fits && value.is_number_unsigned()) {
    fits = value.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  }
  const std::int64_t result = fits ? value.get<std::int64_t>() : 0;
  check(fits && result >= least && result <= most, "{}: \"{}\" should be an integer from {} to {}, found {}", where_, key,
        least, most, brief(value));
  return result;
}

double JsonFields::number(const std::string& key, double least, double most) const {
  const json& value = at(key, "a number");
  const double result = value.is_number() ? value.get<double>() : std::nan("");
  check(result >= least && result <= most, "{}: \"{}\" should be a number from {} to {}, found {}", where_, key, least, most,
        brief(value));
  return result;
}

bool JsonFields::boolean(const std::string& key) const {
  const json& value = at(key, "true or false");
  check(value.is_boolean(), "{}: \"{}\" should be true or false, found {}", where_, key, brief(value));
  return value.get<bool>();
}

std::string JsonFields::text(const std::string& key) const {
  const json& value = at(key, "a string");
  check(value.is_string(), "{}: \"{}\" should be a string, found {}", where_, key, brief(value));
  return value.get<std::string>();
}

JsonFields JsonFields::object(const std::string& key) const {
  return JsonFields(at(key, "an object"), where_ + ": " + key);
}

const json& JsonFields::array(const std::string& key) const {
  const json& value = at(key, "an array");
  check(value.is_array(), "{}: \"{}\" should be an array, found {}", where_, key, brief(value));
  return value;
}

}  // namespace hedgehog

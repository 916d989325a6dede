#include "hedgehog/data/json_lines.h"

#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_cursor.h"
#include "hedgehog/data/line_reader.h"

namespace hedgehog {
namespace {

const nlohmann::json& field_of(const nlohmann::json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  check(found != object.end(), "{}: \"{}\" is missing", where, key);
  return *found;
}

}  // namespace

void for_each_json_line(const std::filesystem::path& path,
                        const std::function<void(const nlohmann::json& object, const std::string& where)>& use) {
  LineReader lines(path);
  for (std::string_view line; lines.next(line);) {
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    const std::string where = lines.where();
    // Whatever is broken or too deep is found here at no cost in memory; nlohmann frees nested values by recursion.
    JsonCursor cursor(line, where);
    cursor.skip_value();
    cursor.expect_end();
    const nlohmann::json value = nlohmann::json::parse(line, nullptr, false);
    check(value.is_object(), "{}: expected a JSON object, found {}", where,
          value.is_discarded() ? "no JSON" : value.type_name());
    use(value, where);
  }
}

std::string text_field(const nlohmann::json& object, const char* key, const std::string& where) {
  const nlohmann::json& value = field_of(object, key, where);
  check(value.is_string(), "{}: \"{}\" should be a string, found {}", where, key, value.type_name());
  return value.get<std::string>();
}

std::int64_t integer_field(const nlohmann::json& object, const char* key, std::int64_t least, std::int64_t most,
                           const std::string& where) {
  const nlohmann::json& value = field_of(object, key, where);
  check(value.is_number_integer(), "{}: \"{}\" should be an integer, found {}", where, key, value.type_name());
  // Integers from 2^63 on are unsigned in nlohmann's terms, and would be negative if read as signed.
  const bool fits = !value.is_number_unsigned() || value.get<std::uint64_t>() <= 0x7FFFFFFFFFFFFFFFULL;
  const std::int64_t integer = fits ? value.get<std::int64_t>() : 0;
  check(fits && integer >= least && integer <= most, "{}: \"{}\" should be from {} to {}, found {}", where, key, least, most,
        value.dump());
  return integer;
}

}  // namespace hedgehog

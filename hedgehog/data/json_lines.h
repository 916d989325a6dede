// JSON lines: a file of one JSON object a line.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace hedgehog {

/// Calls `use(object, where)` for each line that is not blank, *.zst unpacked on the way; `where` is "path:line". Throws Error
/// with file and line for what is no object, is not UTF-8, or nests deeper than kDeepestJson (checkpoint/json_cursor.h).
void for_each_json_line(const std::filesystem::path& path,
                        const std::function<void(const nlohmann::json& object, const std::string& where)>& use);

/// A field of such an object. Throws Error with `where` if it is missing, of another type, or out of [least, most].
std::string text_field(const nlohmann::json& object, const char* key, const std::string& where);
std::int64_t integer_field(const nlohmann::json& object, const char* key, std::int64_t least, std::int64_t most,
                           const std::string& where);

}  // namespace hedgehog

// Reads the JSON files that stand beside a model's weights. They are hostile until parsed: size and depth are limited.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <filesystem>

namespace hedgehog {

/// The value in `path`. Throws Error naming the file and the byte for a file above `limit` bytes, broken JSON or UTF-8, or more
/// than kDeepestJson (json_cursor.h) levels: nlohmann's values free their children by recursion. Of equal keys the last counts.
nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t limit);

/// As read_json_file, and throws unless the value is an object.
nlohmann::json read_json_object(const std::filesystem::path& path, std::size_t limit);

}  // namespace hedgehog

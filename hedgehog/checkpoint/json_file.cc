#include "hedgehog/checkpoint/json_file.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/mapped_file.h"
#include "hedgehog/checkpoint/json_cursor.h"

#include <string_view>

namespace hedgehog {

nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t limit) {
  const MappedFile file(path);
  check(file.bytes().size() <= limit, "{}: is {} bytes long, more than the {} that are read", path.string(),
        file.bytes().size(), limit);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  // Whatever is broken is found here, at no cost in memory; nlohmann's parser then sees only what is sound.
  JsonCursor cursor(text, path.string());
  cursor.skip_value();
  cursor.expect_end();
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    fail("{}: cannot be read as JSON: {}", path.string(), error.what());
  }
}

nlohmann::json read_json_object(const std::filesystem::path& path, std::size_t limit) {
  nlohmann::json value = read_json_file(path, limit);
  check(value.is_object(), "{}: expected a JSON object, found {}", path.string(), value.type_name());
  return value;
}

}  // namespace hedgehog

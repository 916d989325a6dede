#include "hedgehog/data/imdb.h"

#include "hedgehog/base/error.h"
#include "hedgehog/data/json_lines.h"

namespace hedgehog {

std::vector<ByteSequence> read_imdb(const std::filesystem::path& path) {
  std::vector<ByteSequence> reviews;
  for_each_json_line(path, [&](const nlohmann::json& object, const std::string& where) {
    const std::string text = text_field(object, "text", where);
    check(!text.empty(), "{}: the text is empty", where);
    reviews.push_back({{text.begin(), text.end()}, integer_field(object, "label", 0, 1, where)});
  });
  check(!reviews.empty(), "{}: holds no reviews", path.string());
  return reviews;
}

}  // namespace hedgehog

#include "hedgehog/data/aan.h"

#include "hedgehog/base/error.h"
#include "hedgehog/data/tsv_reader.h"

#include <string_view>

namespace hedgehog {

PaperPairs read_aan(const std::filesystem::path& path, std::size_t longest) {
  TsvReader reader(path, {"label", "text1", "text2"}, {.header = {"label", "id1", "id2", "text1", "text2"}});
  PaperPairs pairs;
  for (std::vector<std::string_view> fields; reader.next(fields);) {
    const bool linked = fields[0] == "1" || fields[0] == "1.0";
    check(linked || fields[0] == "0" || fields[0] == "0.0", "{}: unknown label '{}'; expected 0 or 1", reader.where(),
          fields[0].substr(0, 40));
    const std::string_view first = fields[1].substr(0, longest), second = fields[2].substr(0, longest);
    pairs.first.push_back({{first.begin(), first.end()}, linked ? 1 : 0});
    pairs.second.push_back({{second.begin(), second.end()}, linked ? 1 : 0});
  }
  check(!pairs.first.empty(), "{}: holds no pairs of papers", path.string());
  return pairs;
}

}  // namespace hedgehog

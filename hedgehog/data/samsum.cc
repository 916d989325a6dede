#include "hedgehog/data/samsum.h"

#include "hedgehog/base/error.h"
#include "hedgehog/data/json_lines.h"
#include "hedgehog/data/text_file.h"

#include <unordered_set>

namespace hedgehog {

std::vector<Dialogue> read_samsum(const std::filesystem::path& path) {
  std::vector<Dialogue> dialogues;
  std::unordered_set<std::string> ids;
  for_each_json_line(path, [&](const nlohmann::json& object, const std::string& where) {
    Dialogue& each = dialogues.emplace_back();
    each.id = text_field(object, "id", where);
    each.dialogue = text_field(object, "dialogue", where);
    each.summary = text_field(object, "summary", where);
    check(!each.dialogue.empty(), "{}: the dialogue is empty", where);
    check(!each.summary.empty(), "{}: the summary is empty", where);
    check(ids.insert(each.id).second, "{}: the id '{}' was there before: is the file doubled?", where, each.id);
  });
  check(!dialogues.empty(), "{}: holds no dialogues", path.string());
  return dialogues;
}

std::filesystem::path samsum_file(const std::filesystem::path& folder, const std::string& part) {
  const auto found = plain_or_packed(folder / (part + ".jsonl"));
  check(found.has_value(),
        "{}: holds no {}.jsonl or {}.jsonl.zst; expected the folder with SAMSum's train, validation and test", folder.string(),
        part, part);
  return *found;
}

}  // namespace hedgehog

// SAMSum (Gliwa et al. 2019): chats and their summaries, as JSON lines.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace hedgehog {

struct Dialogue {
  std::string id;
  std::string dialogue;  // a turn a line, "Name: text"
  std::string summary;
};

/// Reads lines of {"id": …, "dialogue": …, "summary": …}, *.zst unpacked on the way. Throws Error with file and line for what
/// is no such object, an empty dialogue or summary, an id that was there before, and for a file without dialogues.
std::vector<Dialogue> read_samsum(const std::filesystem::path& path);

}  // namespace hedgehog

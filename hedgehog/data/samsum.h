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

/// `part`.jsonl, or the same with .zst, of a folder: "train", "validation" or "test". Throws Error if it is not there.
std::filesystem::path samsum_file(const std::filesystem::path& folder, const std::string& part);

}  // namespace hedgehog

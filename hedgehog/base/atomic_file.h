// Output files that appear whole or not at all: written under a temporary name in the same folder, synced, then renamed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace hedgehog {

class AtomicFile {
 public:
  /// Opens `path`'s temporary sibling for writing. Throws Error if the folder is missing or cannot be written.
  explicit AtomicFile(std::filesystem::path path);
  /// Removes the temporary file unless commit() has succeeded; the file that stood at `path` before is untouched.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Throws Error when the disk is full.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Syncs the data, renames it over `path` and syncs the folder.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/// Writes `text` to `path` by an AtomicFile.
void write_text_file(const std::filesystem::path& path, std::string_view text);

/// The whole of a text file. Throws Error if it cannot be read or is larger than `limit` bytes.
std::string read_text_file(const std::filesystem::path& path, std::size_t limit = std::size_t{1} << 30);

}  // namespace hedgehog

// The bytes of text files, *.zst unpacked on the way, in pieces of bounded size: a file need not fit into memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace hedgehog {

class TextFile {
 public:
  /// Throws Error if `path` cannot be read.
  explicit TextFile(const std::filesystem::path& path);
  ~TextFile();
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;

  /// Appends about 64 KiB more to `text`. False at the end of the file. Throws Error for a damaged or truncated *.zst.
  bool read_more(std::string& text);

 private:
  struct Source;
  std::unique_ptr<Source> source_;
};

/// The files that `paths` mean: files as they are, folders replaced by the *.txt, *.jsonl, *.txt.zst and *.jsonl.zst below
/// them, in name order. Throws Error for a path that is not there, a folder without any.
std::vector<std::filesystem::path> text_files(const std::vector<std::filesystem::path>& paths);

/// `path`, or the same with .zst; nothing if neither is there.
std::optional<std::filesystem::path> plain_or_packed(const std::filesystem::path& path);

/// Where `text` may be cut such that the two parts, tokenized on their own, give the tokens of the whole: after the last
/// newline between a letter, digit or full stop and a letter or digit. 0 if there is none. With `at_blanks` also before a
/// single blank between two letters. Byte-level BPE only: its patterns never join what stands on both sides of these.
std::size_t last_cut(const std::string& text, std::size_t at_least, bool at_blanks);

}  // namespace hedgehog

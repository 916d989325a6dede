// Lines of a text file and their numbers: what every reader of a line-oriented format starts from.
#pragma once

#include "hedgehog/data/text_file.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace hedgehog {

class LineReader {
 public:
  /// Opens a text file, *.zst unpacked on the way; lines above `longest` bytes are refused. Throws Error if it cannot be read.
  explicit LineReader(std::filesystem::path path, std::size_t longest = std::size_t{64} << 20);

  /// The next line without its end ("\n" or "\r\n") and, in the first one, without a byte order mark; false after the last.
  /// `line` is valid until the next call. Throws Error with file and line for a line that is too long, is not UTF-8 or holds a
  /// zero byte, and for a damaged or truncated *.zst.
  bool next(std::string_view& line);

  /// Of the line that next() gave last, from 1.
  std::int64_t number() const { return number_; }
  /// "path:number", as errors write it.
  std::string where() const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  TextFile file_;
  std::size_t longest_;
  std::string text_;       // what is read and not yet given out, from start_ on
  std::size_t start_ = 0;  // of the next line
  std::int64_t number_ = 0;
};

}  // namespace hedgehog

#include "hedgehog/data/line_reader.h"

#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_cursor.h"

#include <utility>

namespace hedgehog {

LineReader::LineReader(std::filesystem::path path, std::size_t longest)
    : path_(std::move(path)), file_(path_), longest_(longest) {}

std::string LineReader::where() const {
  return fmt::format("{}:{}", path_.string(), number_);
}

bool LineReader::next(std::string_view& line) {
  ++number_;
  std::size_t end = text_.find('\n', start_);
  for (bool more = true; end == std::string::npos && more;) {
    text_.erase(0, std::exchange(start_, 0));
    check(text_.size() <= longest_, "{}: the line is longer than {} bytes: is this a text file?", where(), longest_);
    const std::size_t searched = text_.size();
    more = file_.read_more(text_);
    end = text_.find('\n', searched);
  }
  if (end == std::string::npos && start_ == text_.size()) {
    --number_;
    return false;
  }
  line = std::string_view(text_).substr(start_, end == std::string::npos ? end : end - start_);
  start_ = end == std::string::npos ? text_.size() : end + 1;
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (number_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  const std::size_t broken = find_broken_utf8(line);
  if (broken != std::string_view::npos) {
    fail("{}: byte {} of the line is not UTF-8: convert the file to UTF-8", where(), broken);
  }
  if (line.find('\0') != std::string_view::npos) fail("{}: holds a zero byte: this is no text file", where());
  return true;
}

}  // namespace hedgehog

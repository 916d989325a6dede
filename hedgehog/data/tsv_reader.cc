#include "hedgehog/data/tsv_reader.h"

#include "hedgehog/base/error.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace hedgehog {
namespace {

void split_at_tabs(std::string_view line, std::vector<std::string_view>& fields) {
  fields.clear();
  for (std::size_t start = 0;;) {
    const std::size_t end = line.find('\t', start);
    fields.push_back(line.substr(start, end == std::string_view::npos ? end : end - start));
    if (end == std::string_view::npos) return;
    start = end + 1;
  }
}

}  // namespace

TsvReader::TsvReader(std::filesystem::path path, const std::vector<std::string>& columns, TsvOptions options)
    : lines_(std::move(path)), options_(std::move(options)) {
  std::vector<std::string_view> header(options_.header.begin(), options_.header.end());
  if (header.empty()) {
    std::string_view line;
    check(lines_.next(line), "{}: is empty; expected a header line with the columns {}", lines_.path().string(),
          fmt::join(columns, ", "));
    split_at_tabs(line, header);
  }
  width_ = header.size();
  for (const std::string& column : columns) {
    const auto found = std::find(header.begin(), header.end(), column);
    check(found != header.end(), "{}: the column '{}' is missing; the header's {} columns are: {}", lines_.where(), column,
          header.size(), fmt::format("{}", fmt::join(header, ", ")).substr(0, 400));
    positions_.push_back(static_cast<std::size_t>(found - header.begin()));
  }
}

bool TsvReader::next(std::vector<std::string_view>& fields) {
  for (std::string_view line; lines_.next(line);) {
    if (line.empty()) continue;
    split_at_tabs(line, row_);
    if (row_.size() != width_) {
      check(options_.skip_broken_rows,
            "{}: the row has {} tab-separated fields, expected {}: the file is cut, or a field holds a tab or a newline",
            where(), row_.size(), width_);
      ++skipped_;
      continue;
    }
    fields.clear();
    for (const std::size_t position : positions_) fields.push_back(row_[position]);
    ++rows_;
    return true;
  }
  return false;
}

}  // namespace hedgehog

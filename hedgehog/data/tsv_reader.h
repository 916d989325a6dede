// Tab-separated values without any quoting, as GLUE and Long Range Arena have them: a tab always ends a field, a newline always
// ends a row, a double quote is a character like others.
#pragma once

#include "hedgehog/data/line_reader.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

struct TsvOptions {
  std::vector<std::string> header;  // the columns of a file that has no header line; empty: the first line names them
  bool skip_broken_rows = false;    // rows of another number of fields are left out and counted instead of refused
};

class TsvReader {
 public:
  /// `columns` are the names of the fields wanted, in the order in which next() gives them. Throws Error for an empty file and
  /// for a column that is not there.
  TsvReader(std::filesystem::path path, const std::vector<std::string>& columns, TsvOptions options = {});

  /// The wanted fields of the next row; empty lines are stepped over. False after the last. `fields` is valid until the next
  /// call. Throws Error with file and line for a row of another number of fields than the header's, and what LineReader throws.
  bool next(std::vector<std::string_view>& fields);

  /// Rows given out, and rows left out by skip_broken_rows.
  std::int64_t rows() const { return rows_; }
  std::int64_t skipped() const { return skipped_; }
  /// "path:line" of the row that next() gave last.
  std::string where() const { return lines_.where(); }

 private:
  LineReader lines_;
  TsvOptions options_;
  std::size_t width_ = 0;               // fields a row has
  std::vector<std::size_t> positions_;  // of the wanted fields
  std::vector<std::string_view> row_;
  std::int64_t rows_ = 0, skipped_ = 0;
};

}  // namespace hedgehog

// Where the data sets lie that tests may use and the repository may not hold: $HEDGEHOG_DATA, or ../shared/data.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace hedgehog::testing {

/// The path of a data set's file, which may not be there: test with exists() and skip with a line that says so.
inline std::filesystem::path data_file(std::string_view name) {
  const char* given = std::getenv("HEDGEHOG_DATA");
  return (given != nullptr ? std::filesystem::path(given) : std::filesystem::path(HEDGEHOG_SOURCE_DIR) / "../shared/data") /
         name;
}

}  // namespace hedgehog::testing

/// Ends the test with a line that says which data it would need.
#define HEDGEHOG_SKIP_WITHOUT(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "skipped: no data at " << (path)

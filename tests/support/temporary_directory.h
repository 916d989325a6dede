// A folder of a test's own that vanishes with it, and the message of the Error that a call throws.
#pragma once

#include "hedgehog/base/error.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace hedgehog::testing {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    // In memory where that is possible: tests of damaged input write thousands of small files.
    for (const std::string& parent : {std::string("/dev/shm/"), ::testing::TempDir()}) {
      std::string name = parent + "hedgehog-XXXXXX";
      if (::mkdtemp(name.data()) != nullptr) {
        path_ = name;
        return;
      }
    }
    throw std::runtime_error("no temporary directory can be made");
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  /// Writes `bytes` to a file in this folder and gives its path.
  std::filesystem::path write(std::string_view name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// What the Error says that `call` throws; a failed test and "" if it throws none.
template <typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

}  // namespace hedgehog::testing

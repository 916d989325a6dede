// Runs the built program as a user does, and makes what it needs: a tiny random model as a Hugging Face directory, text,
// recipes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog::testing {

struct Outcome {
  int status = -1;  // exit status, or 128 + the signal that ended it
  std::string out, err;
};

/// Standard input is empty, standard output and error are files. `environment`: "NAME=value", added to the test's own.
Outcome run_program(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {});

/// Starts the program, waits until it has written to standard error, sends SIGINT, waits for the end.
Outcome interrupt_program(const std::vector<std::string>& arguments);

/// What the program writes to a terminal of 80 columns that is its standard error.
std::string run_on_terminal(const std::vector<std::string>& arguments);

/// A folder of its own that goes when the object does.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(std::string_view name) const { return (path_ / name).string(); }
  /// Writes a file and returns its path.
  std::string write(std::string_view name, std::string_view text) const;

 private:
  std::filesystem::path path_;
};

/// Two layers, four query and two key/value heads of 8; byte-level BPE of 256 bytes, one merge and "<|endoftext|>".
void write_tiny_model(const std::filesystem::path& folder);

/// `words` words of a few, in random order but the same each time: text that a tiny model can learn something of.
std::string simple_text(int words);

}  // namespace hedgehog::testing

// From the bytes of tokens to text that can be shown: whole UTF-8 characters only, and nothing that may yet turn out to be the
// beginning of a stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

class TextStream {
 public:
  /// Empty stop strings are left out. Bytes that are not UTF-8 become U+FFFD, one for each maximal part of a character.
  explicit TextStream(std::vector<std::string> stop);

  /// Adds a token's bytes and returns the text that is now certain. Nothing more once stopped().
  std::string push(std::string_view bytes);
  /// The end of the text: what was held back, a cut character as U+FFFD.
  std::string finish();
  /// A stop string has come; the text ends before it.
  bool stopped() const { return stopped_; }

 private:
  void decode(bool at_end);
  std::string take();

  std::vector<std::string> stop_;
  std::string bytes_;    // not yet a whole character
  std::string pending_;  // text that may be the beginning of a stop string
  bool stopped_ = false;
};

}  // namespace hedgehog

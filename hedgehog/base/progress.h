// How long work tells of its progress. The library never prints: the program passes a Progress that draws a bar or writes
// lines.
#pragma once

#include <cstdint>
#include <string_view>

namespace hedgehog {

class Progress {
 public:
  virtual ~Progress() = default;
  /// A stage of `total` units begins; the stage before it, if any, has ended.
  virtual void begin(std::string_view stage, std::int64_t total) {}
  /// `done` of the stage's units are behind us; `note` is short, such as "loss 2.31".
  virtual void update(std::int64_t done, std::string_view note) {}
  virtual void end() {}
  /// A line that stays, such as "checkpoint written".
  virtual void message(std::string_view text) {}
};

}  // namespace hedgehog

// The two ways the program tells of progress on standard error: a bar that is redrawn on a terminal, plain lines elsewhere.
#include "cli/command.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace hedgehog::cli {
namespace {

using Clock = std::chrono::steady_clock;

std::string clock_text(double seconds) {
  const auto whole = std::llround(std::clamp(seconds, 0.0, 3.6e6));
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

/// Never throws, unlike fmt::print: a closed standard error must not end a conversion.
void put(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

/// What both share: the stage, its clock, and when to write again.
class Reporter : public Progress {
 public:
  explicit Reporter(double interval) : interval_(interval) {}

  void begin(std::string_view stage, std::int64_t total) override {
    end();
    stage_ = stage;
    total_ = std::max<std::int64_t>(total, 0);
    done_ = 0;
    note_.clear();
    start_ = last_ = Clock::now();
    first_ = active_ = true;
    finished_ = false;
    started();
  }

  void update(std::int64_t done, std::string_view note) override {
    if (!active_) return;
    // A resumed stage starts in its middle: what was done before must not make it look fast.
    if (first_) base_ = done > total_ / 50 + 1 ? done : 0;
    done_ = done;
    note_ = note;
    const auto now = Clock::now();
    finished_ = total_ > 0 && done >= total_;
    if (!first_ && !finished_ && std::chrono::duration<double>(now - last_).count() < interval_) return;
    first_ = false;
    last_ = now;
    write();
  }

  void end() override {
    if (!active_) return;
    active_ = false;
    finish();
  }

 protected:
  virtual void started() {}
  virtual void write() = 0;
  virtual void finish() = 0;

  double elapsed() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  double share() const { return total_ > 0 ? std::clamp(double(done_) / double(total_), 0.0, 1.0) : 0.0; }
  std::string times() const {
    if (finished_ || total_ == 0 || done_ <= base_) return clock_text(elapsed());
    const double left = elapsed() / double(done_ - base_) * double(std::max<std::int64_t>(total_ - done_, 0));
    return fmt::format("{}, {} left", clock_text(elapsed()), clock_text(left));
  }

  std::string stage_, note_;
  std::int64_t total_ = 0, done_ = 0, base_ = 0;
  bool active_ = false, first_ = true, finished_ = false;

 private:
  double interval_;
  Clock::time_point start_, last_;
};

class Bar : public Reporter {
 public:
  Bar() : Reporter(0.1) {}
  ~Bar() override { Bar::finish(); }

  void message(std::string_view text) override {
    put(fmt::format("\r\033[K{}\n", text));
    if (active_) write();
  }

 private:
  void started() override { write(); }

  void write() override {
    constexpr int kCells = 24;
    const int full = static_cast<int>(share() * kCells);
    std::string bar;
    for (int i = 0; i < kCells; ++i) bar += i < full ? "#" : ".";
    std::string line = fmt::format("{} [{}] {:3.0f}%  {}  {}", stage_, bar, share() * 100, times(), note_);
    winsize size{};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 && line.size() >= size.ws_col)
      line.resize(size.ws_col - 1);
    put("\r\033[K" + line);
    drawn_ = true;
  }

  void finish() override {
    if (!drawn_) return;
    write();
    put("\n");
    drawn_ = false;
  }

  bool drawn_ = false;
};

class Lines : public Reporter {
 public:
  Lines() : Reporter(10) {}
  ~Lines() override { Lines::finish(); }

  void message(std::string_view text) override { put(std::string(text) + "\n"); }

 private:
  void write() override {
    put(fmt::format("{}: {}/{} ({:.0f}%), {}{}{}\n", stage_, done_, total_, share() * 100, times(), note_.empty() ? "" : ", ",
                    note_));
    written_ = done_;
  }

  void finish() override {
    if (done_ != written_) write();
    written_ = 0;
  }

  std::int64_t written_ = 0;  // the last line's `done`
};

}  // namespace

std::unique_ptr<Progress> make_progress() {
  const char* terminal = std::getenv("TERM");
  const bool redraws = isatty(STDERR_FILENO) == 1 && terminal != nullptr && std::strcmp(terminal, "dumb") != 0;
  if (redraws) return std::make_unique<Bar>();
  return std::make_unique<Lines>();
}

}  // namespace hedgehog::cli

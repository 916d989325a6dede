#include "tests/cli/program.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

namespace hedgehog::testing {
namespace {

namespace fs = std::filesystem;

void execute(const std::vector<std::string>& arguments, const std::vector<std::string>& environment) {
  std::vector<char*> pointers = {const_cast<char*>("hedgehog")};
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  for (const std::string& variable : environment) ::putenv(const_cast<char*>(variable.c_str()));
  ::execv(HEDGEHOG_PROGRAM, pointers.data());
  ::_exit(127);
}

pid_t start(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
            const TemporaryFolder& folder) {
  const std::string out = folder / "out", err = folder / "err";
  const pid_t child = ::fork();
  check(child >= 0, "cannot start a process");
  if (child == 0) {
    ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    execute(arguments, environment);
  }
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Outcome run_program(const std::vector<std::string>& arguments, const std::vector<std::string>& environment) {
  const TemporaryFolder folder;
  Outcome outcome;
  outcome.status = wait_for(start(arguments, environment, folder));
  outcome.out = read_text_file(folder / "out");
  outcome.err = read_text_file(folder / "err");
  return outcome;
}

Outcome interrupt_program(const std::vector<std::string>& arguments) {
  const TemporaryFolder folder;
  const pid_t child = start(arguments, {}, folder);
  std::error_code missing;
  for (int tenths = 0; tenths < 600; ++tenths) {
    if (const auto size = fs::file_size(folder / "err", missing); !missing && size > 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ::kill(child, SIGINT);
  Outcome outcome;
  outcome.status = wait_for(child);
  outcome.out = read_text_file(folder / "out");
  outcome.err = read_text_file(folder / "err");
  return outcome;
}

std::string run_on_terminal(const std::vector<std::string>& arguments) {
  winsize size{};
  size.ws_row = 24;
  size.ws_col = 80;
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
  check(child >= 0, "cannot open a terminal");
  if (child == 0) execute(arguments, {"TERM=xterm"});
  std::string text;
  char buffer[4096];
  for (ssize_t count = 0; (count = ::read(terminal, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(count));
  ::close(terminal);
  wait_for(child);
  return text;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "hedgehog-cli-XXXXXX").string();
  check(::mkdtemp(name.data()) != nullptr, "cannot make a folder like {}", name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string TemporaryFolder::write(std::string_view name, std::string_view text) const {
  const fs::path path = path_ / name;
  fs::create_directories(path.parent_path());
  write_text_file(path, text);
  return path.string();
}

std::string simple_text(int words) {
  static constexpr const char* kWords[] = {"the", "hedgehog", "sleeps", "under", "a", "leaf", "and", "dreams", "of", "beetles"};
  Random random{3};
  std::string text;
  for (int i = 0; i < words; ++i) text += std::string(kWords[random.below(10)]) + (i % 12 == 11 ? ".\n" : " ");
  return text;
}

}  // namespace hedgehog::testing

#include "hedgehog/benchmark/peak_memory.h"

#include "hedgehog/base/freed_memory.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <new>
#include <string>

namespace hedgehog {
namespace {

/// A line "NAME:   123 kB" of a file below /proc, in bytes.
std::optional<double> field(const char* path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::strtod(line.c_str() + name.size() + 1, nullptr) * 1024;
  }
  return std::nullopt;
}

bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace

std::optional<double> peak_growth(const std::function<void()>& call) {
  // Free pages that the C library keeps would be filled without the process growing.
  release_freed_memory();
  if (!reset_peak()) return std::nullopt;
  const std::optional<double> before = field("/proc/self/status", "VmRSS");
  call();
  const std::optional<double> peak = field("/proc/self/status", "VmHWM");
  if (!before || !peak) return std::nullopt;
  return std::max(0.0, *peak - *before);
}

bool fits(const std::function<void()>& work) {
  try {
    work();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  } catch (const c10::Error& error) {  // LibTorch's allocator has no type of its own for it
    if (std::string(error.what_without_backtrace()).find("can't allocate memory") == std::string::npos) throw;
    return false;
  }
}

double total_memory() {
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double available_memory() {
  return field("/proc/meminfo", "MemAvailable").value_or(total_memory());
}

}  // namespace hedgehog

// Memory that calls need: how much at the highest, as Linux counts resident memory, so that a kernel's own scratch is in it.
#pragma once

#include <functional>
#include <optional>

namespace hedgehog {

/// Bytes by which resident memory grew at most while `call` ran; what it kept of the call before is not counted, so that it
/// should have run once. None where the kernel does not allow to reset the peak (/proc/self/clear_refs).
std::optional<double> peak_growth(const std::function<void()>& call);

/// False when `work` ran out of memory; what else it throws goes through.
bool fits(const std::function<void()>& work);

/// Bytes that could still be allocated, and that the machine has.
double available_memory();
double total_memory();

}  // namespace hedgehog

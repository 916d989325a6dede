// What the C library does with memory that was freed. Without effect where the library is not glibc.
#pragma once

namespace hedgehog {

/// From now on freed memory stays with the process: handing a tensor's pages back and asking for them anew for every operation
/// costs time (docs/decisions.md).
void keep_freed_memory();

/// Hands back what is free at this moment: after a phase that needed much more than the next one.
void release_freed_memory();

}  // namespace hedgehog

// Thrown for the files that are compiled once per instruction set, which hold no part of the standard library themselves.
#pragma once

namespace hedgehog::kernels {

/// Throws std::bad_alloc.
[[noreturn]] void throw_out_of_memory();

}  // namespace hedgehog::kernels

// What the untyped pointers of a kernel point to.
#pragma once

namespace hedgehog::kernels {

/// bf16 as its 16 bits, std::uint16_t.
enum class Element { kFloat32, kBfloat16 };

}  // namespace hedgehog::kernels

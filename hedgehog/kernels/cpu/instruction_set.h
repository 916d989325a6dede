// Which instruction set the kernels run on: the best that the machine has, or the one that the environment variable
// HEDGEHOG_ISA names.
#pragma once

#include <vector>

namespace hedgehog::kernels {

/// Each holds what stands before it, on one kind of processor. The last two are AVX-512 with bf16 products by vectors and by
/// tiles; up to kAvx512 products are in fp32.
enum class InstructionSet { kScalar, kSse2, kNeon, kAvx2, kAvx512, kAvx512Bf16, kAmx };

/// "scalar", "sse2", "neon", "avx2", "avx512", "avx512-bf16", "amx"
const char* name_of(InstructionSet set);

/// Those that the kernels were compiled for and this machine has; the best is the last.
const std::vector<InstructionSet>& instruction_sets();

/// The one of instruction_sets() with this name; null or "": the best. Throws Error for any other name.
InstructionSet instruction_set_named(const char* name);

/// What the kernels run on. The first call takes HEDGEHOG_ISA's, and throws as instruction_set_named does.
InstructionSet chosen_instruction_set();

/// Makes kernels run on one of instruction_sets() from their next call on; for tests.
void use_instruction_set(InstructionSet set);

}  // namespace hedgehog::kernels

/// HWY_DYNAMIC_DISPATCH for a function of the kernels: whichever is called first, HEDGEHOG_ISA holds for it.
#define HEDGEHOG_DISPATCH(FUNCTION) \
  (static_cast<void>(hedgehog::kernels::chosen_instruction_set()), HWY_DYNAMIC_DISPATCH(FUNCTION))

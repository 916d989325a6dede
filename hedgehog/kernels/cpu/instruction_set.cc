// See instruction_set.h.
#include "hedgehog/kernels/cpu/instruction_set.h"

#include "hedgehog/base/error.h"
#include "hedgehog/kernels/attention.h"
#include "hedgehog/kernels/cpu/product_amx.h"
#include "hedgehog/kernels/cpu/product_bf16.h"

#include <hwy/targets.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace hedgehog::kernels {
namespace {

constexpr std::int64_t kFallback = HWY_EMU128 | HWY_SCALAR;

// Highway's targets that are this set; better ones are lower bits.
std::int64_t targets_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::kScalar:
      return kFallback;
#if HWY_ARCH_X86
    case InstructionSet::kSse2:
      return ~kFallback & ~(2 * HWY_AVX2 - 1);
    case InstructionSet::kAvx2:
      return HWY_AVX2;
    case InstructionSet::kAvx512:
    case InstructionSet::kAvx512Bf16:
    case InstructionSet::kAmx:
      return 2 * HWY_AVX3 - 1;
#else
    case InstructionSet::kNeon:
      return ~kFallback;
#endif
    default:
      return 0;
  }
}

// What this file and, with the same options, the kernels are compiled for and the machine has. Found once: to be asked makes
// Highway forget what was chosen.
std::int64_t machine_targets() {
  static const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

bool machine_has(InstructionSet set) {
  if ((machine_targets() & targets_of(set)) == 0) return false;
  if (set == InstructionSet::kAvx512Bf16) return has_bf16_products();
  if (set == InstructionSet::kAmx) return has_bf16_products() && has_tiles();
  return true;
}

std::vector<InstructionSet> find_instruction_sets() {
  std::vector<InstructionSet> found;
  for (int n = 0; n <= static_cast<int>(InstructionSet::kAmx); ++n) {
    if (machine_has(static_cast<InstructionSet>(n))) found.push_back(static_cast<InstructionSet>(n));
  }
  return found;
}

std::atomic<InstructionSet> chosen{InstructionSet::kScalar};

void choose(InstructionSet set) {
  hwy::GetChosenTarget().Update(machine_targets() & targets_of(set));
  chosen = set;
}

}  // namespace

const char* name_of(InstructionSet set) {
  constexpr const char* kNames[] = {"scalar", "sse2", "neon", "avx2", "avx512", "avx512-bf16", "amx"};
  return kNames[static_cast<int>(set)];
}

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> sets = find_instruction_sets();
  return sets;
}

InstructionSet instruction_set_named(const char* name) {
  const std::vector<InstructionSet>& sets = instruction_sets();
  const std::string_view wanted = name == nullptr ? "" : name;
  if (wanted.empty()) return sets.back();
  std::string names;
  for (const InstructionSet set : sets) {
    if (wanted == name_of(set)) return set;
    names += names.empty() ? "" : ", ";
    names += name_of(set);
  }
  fail("HEDGEHOG_ISA is '{}', which this machine does not have: it has {}", wanted, names);
}

InstructionSet chosen_instruction_set() {
  static const bool first = (choose(instruction_set_named(std::getenv("HEDGEHOG_ISA"))), true);
  static_cast<void>(first);
  return chosen;
}

void use_instruction_set(InstructionSet set) {
  chosen_instruction_set();  // else the first call would come after and undo this
  choose(set);
}

const char* instruction_set() {
  return name_of(chosen_instruction_set());
}

}  // namespace hedgehog::kernels

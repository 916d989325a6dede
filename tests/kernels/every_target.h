// Runs a test's body with every instruction set that was compiled and that this machine has.
#pragma once

#include "hedgehog/kernels/cpu/instruction_set.h"

#include <gtest/gtest.h>

namespace hedgehog::kernels {

template <typename Body>
void on_every_target(const Body& body) {
  const InstructionSet before = chosen_instruction_set();
  for (const InstructionSet set : instruction_sets()) {
    use_instruction_set(set);
    SCOPED_TRACE(name_of(set));
    body();
  }
  use_instruction_set(before);
}

}  // namespace hedgehog::kernels

// kernels/cpu/instruction_set: names, what is refused, and that the kernels run on what is chosen.
#include "hedgehog/kernels/cpu/instruction_set.h"

#include "hedgehog/base/error.h"
#include "hedgehog/kernels/attention.h"
#include "hedgehog/kernels/cpu/matvec.h"
#include "tests/kernels/every_target.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

namespace hedgehog::kernels {
namespace {

TEST(InstructionSet, IsTheBestWithoutAName) {
  ASSERT_FALSE(instruction_sets().empty());
  EXPECT_EQ(instruction_set_named(nullptr), instruction_sets().back());
  EXPECT_EQ(instruction_set_named(""), instruction_sets().back());
  EXPECT_TRUE(std::is_sorted(instruction_sets().begin(), instruction_sets().end()));
}

TEST(InstructionSet, IsFoundByItsName) {
  for (const InstructionSet set : instruction_sets()) EXPECT_EQ(instruction_set_named(name_of(set)), set);
}

TEST(InstructionSet, IsFirstTheEnvironments) {
  EXPECT_EQ(chosen_instruction_set(), instruction_set_named(std::getenv("HEDGEHOG_ISA")));
}

// The message for a name that is refused.
std::string refusal(const char* name) {
  try {
    instruction_set_named(name);
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << name << " was taken";
  return "";
}

TEST(InstructionSet, RefusesANameThatTheMachineDoesNotHaveAndSaysWhatItHas) {
  for (const char* name : {"avx1024", "AVX2", "avx", "best"}) {
    const std::string message = refusal(name);
    EXPECT_NE(message.find(name), std::string::npos) << message;
    for (const InstructionSet set : instruction_sets()) EXPECT_NE(message.find(name_of(set)), std::string::npos) << message;
  }
  // No machine has both.
  const auto has = [](InstructionSet set) { return std::ranges::find(instruction_sets(), set) != instruction_sets().end(); };
  EXPECT_NE(refusal(name_of(has(InstructionSet::kNeon) ? InstructionSet::kAvx2 : InstructionSet::kNeon)), "");
}

TEST(InstructionSet, IsWhatTheKernelsRunOn) {
  on_every_target([] {
    const InstructionSet set = chosen_instruction_set();
    EXPECT_STREQ(instruction_set(), name_of(set));
    const std::string target = matvec_target();
    EXPECT_EQ(target == "EMU128" || target == "SCALAR", set == InstructionSet::kScalar) << target;
    EXPECT_EQ(target == "AVX2", set == InstructionSet::kAvx2) << target;
    EXPECT_EQ(target.starts_with("AVX3"), set >= InstructionSet::kAvx512) << target;
  });
}

}  // namespace
}  // namespace hedgehog::kernels

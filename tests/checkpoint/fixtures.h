// Where the checkpoint's tests find their files.
#pragma once

#include <filesystem>

namespace hedgehog::testing {

inline const std::filesystem::path kFixtures = HEDGEHOG_SOURCE_DIR "/tests/fixtures/checkpoint";

}  // namespace hedgehog::testing

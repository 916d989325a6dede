// The cases of tests/fixtures/evaluation/metrics.json.
#pragma once

#include "hedgehog/base/atomic_file.h"

#include <nlohmann/json.hpp>

#include <string>

namespace hedgehog::testing {

inline nlohmann::json metrics_fixture(const char* name) {
  return nlohmann::json::parse(read_text_file(std::string(HEDGEHOG_SOURCE_DIR) + "/tests/fixtures/evaluation/metrics.json"))
      .at(name);
}

}  // namespace hedgehog::testing

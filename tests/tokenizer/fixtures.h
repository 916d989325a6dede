// Where the tokenizer's tests find their files.
#pragma once

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace hedgehog::testing {

inline std::filesystem::path fixtures() {
  return std::filesystem::path(HEDGEHOG_SOURCE_DIR) / "tests/fixtures/tokenizer";
}

inline nlohmann::json read_fixture(const std::string& name) {
  return nlohmann::json::parse(read_text_file(fixtures() / name));
}

inline std::filesystem::path data_folder() {
  const char* given = std::getenv("HEDGEHOG_DATA");
  return given != nullptr ? std::filesystem::path(given) : std::filesystem::path(HEDGEHOG_SOURCE_DIR) / "../shared/data";
}

/// The model that the scripts lay under .deps, or nothing.
inline std::optional<std::filesystem::path> smollm2() {
  const char* given = std::getenv("HEDGEHOG_MODELS");
  const auto folder =
      given != nullptr ? std::filesystem::path(given) : std::filesystem::path(HEDGEHOG_SOURCE_DIR) / ".deps/models";
  const auto path = folder / "SmolLM2-135M-Instruct.Q4_1.gguf";
  return std::filesystem::exists(path) ? std::optional(path) : std::nullopt;
}

inline TokenizerSource source_of(nlohmann::json tokenizer_json) {
  TokenizerSource source;
  source.tokenizer_json = std::move(tokenizer_json);
  source.tokenizer_config = nlohmann::json::object();
  return source;
}

}  // namespace hedgehog::testing

// Writes a tokenizer and reads it again. HEDGEHOG_WRITTEN_TOKENIZERS=folder keeps what is written, for
// check_written_tokenizers.py.
#pragma once

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/checkpoint/huggingface_directory.h"
#include "hedgehog/tokenizer/tokenizer.h"
#include "tests/support/temporary_directory.h"
#include "tests/tokenizer/fixtures.h"
#include "tests/tokenizer/mixed_text.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace hedgehog::testing {

inline void expect_round_trip(const TokenizerSource& source, const std::string& name) {
  const char* kept = std::getenv("HEDGEHOG_WRITTEN_TOKENIZERS");
  const TemporaryDirectory temporary;
  const std::filesystem::path folder = (kept != nullptr ? std::filesystem::path(kept) : temporary.path()) / name;
  std::filesystem::create_directories(folder);
  write_tokenizer(source, folder);
  const TokenizerSource read = read_tokenizer_files(folder);
  EXPECT_EQ(read.chat_template, source.chat_template) << name;
  const auto before = make_tokenizer(source), after = make_tokenizer(read);
  EXPECT_EQ(after->begin_token(), before->begin_token()) << name;
  EXPECT_EQ(after->end_tokens(), before->end_tokens()) << name;
  EXPECT_EQ(after->vocabulary_size(), before->vocabulary_size()) << name;
  MixedText text(fixtures());
  nlohmann::json ids = nlohmann::json::array();
  for (std::uint64_t i = 200; i < 204; ++i) {
    const std::string chunk = text.chunk(i);
    const std::vector<std::int32_t> expected = before->encode(chunk, true);
    ASSERT_EQ(after->encode(chunk, true), expected) << name << ", chunk " << i;
    ids.push_back(expected);
  }
  if (kept != nullptr) {
    write_text_file(folder / "ids.json", ids.dump());
  }
}

}  // namespace hedgehog::testing

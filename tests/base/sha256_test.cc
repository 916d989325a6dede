#include "hedgehog/base/sha256.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

std::string hash_of(std::string_view text) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text.data(), text.size())));
  return hash.hexadecimal();
}

// The examples of FIPS 180-4 and the empty message.
TEST(Sha256, MatchesTheStandard) {
  EXPECT_EQ(hash_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hash_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash_of(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesAndFilesGiveTheSame) {
  Sha256 hash;
  for (const std::string_view piece : {"a", "", "bc"}) {
    hash.update(std::as_bytes(std::span(piece.data(), piece.size())));
  }
  EXPECT_EQ(hash.hexadecimal(), hash_of("abc"));
  const std::filesystem::path path = ::testing::TempDir() + "hedgehog_sha256_test";
  write_text_file(path, "abc");
  EXPECT_EQ(sha256_of_file(path), hash_of("abc"));
  std::filesystem::remove(path);
  EXPECT_THROW(sha256_of_file(path), Error);
}

}  // namespace
}  // namespace hedgehog

#include "hedgehog/data/imdb.h"

#include "tests/support/data_file.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace hedgehog {
namespace {

using testing::data_file;
using testing::error_of;
using testing::TemporaryDirectory;

TEST(Imdb, TextsAreBytes) {
  const TemporaryDirectory folder;
  const auto reviews = read_imdb(folder.write(
      "a.jsonl", "{\"label\": 1, \"text\": \"ok \\u00e9<br />\", \"id\": \"0_9\"}\n{\"label\": 0, \"text\": \"no\"}\n"));
  ASSERT_EQ(reviews.size(), 2u);
  const std::string text = "ok é<br />";
  EXPECT_TRUE(std::equal(text.begin(), text.end(), reviews[0].symbols.begin(), reviews[0].symbols.end(),
                         [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; }));
  EXPECT_EQ(reviews[0].label, 1);
  EXPECT_EQ(reviews[1].label, 0);
}

TEST(Imdb, ErrorsSayWhere) {
  const TemporaryDirectory folder;
  const auto error = [&](const std::string& line) {
    return error_of([&] { read_imdb(folder.write("a.jsonl", "{\"label\": 0, \"text\": \"x\"}\n" + line)); });
  };
  EXPECT_NE(error("{\"label\": 2, \"text\": \"x\"}").find("a.jsonl:2: \"label\" should be from 0 to 1, found 2"),
            std::string::npos);
  EXPECT_NE(error("{\"label\": 1, \"text\": \"\"}").find("a.jsonl:2: the text is empty"), std::string::npos);
  EXPECT_NE(error("{\"label\": 1}").find("a.jsonl:2: \"text\" is missing"), std::string::npos);
  EXPECT_NE(error("{\"label\": 1, \"text\": \"\xE9\"}").find("a.jsonl:2"), std::string::npos);
  EXPECT_NE(error_of([&] { read_imdb(folder.write("b.jsonl", "")); }).find("holds no reviews"), std::string::npos);
}

TEST(Imdb, TheRealFilesAreBalanced) {
  const auto folder = data_file("imdb");
  HEDGEHOG_SKIP_WITHOUT(folder);
  for (const char* name : {"train.jsonl.zst", "test.jsonl.zst"}) {
    const auto reviews = read_imdb(folder / name);
    ASSERT_EQ(reviews.size(), 25'000u);
    EXPECT_EQ(std::count_if(reviews.begin(), reviews.end(), [](const auto& review) { return review.label == 1; }), 12'500);
    const PaddedBatch batch = padded_batch(reviews, std::vector<std::int64_t>{0, 1, 24'999}, 4096);
    EXPECT_EQ(batch.ids.sizes(), (std::vector<std::int64_t>{3, 4096}));
    EXPECT_EQ(batch.ids.gt(kPaddingId).sum().item<std::int64_t>(), batch.lengths.sum().item<std::int64_t>());
  }
}

}  // namespace
}  // namespace hedgehog

#include "hedgehog/data/samsum.h"

#include "tests/support/compressed.h"
#include "tests/support/data_file.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using testing::compressed;
using testing::data_file;
using testing::error_of;
using testing::TemporaryDirectory;

TEST(Samsum, DialoguesAreReadAsTheyStand) {
  const TemporaryDirectory folder;
  const std::string lines =
      "{\"id\": \"1\", \"dialogue\": \"A: hi\\r\\nB: \\u00e9\", \"summary\": \"They greet.\"}\n"
      "{\"id\": \"2\", \"dialogue\": \"C: yo\", \"summary\": \"C is there.\", \"more\": [1]}\n";
  for (const auto& file : {folder.write("a.jsonl", lines), folder.write("a.jsonl.zst", compressed(lines))}) {
    const std::vector<Dialogue> dialogues = read_samsum(file);
    ASSERT_EQ(dialogues.size(), 2u);
    EXPECT_EQ(dialogues[0].dialogue, "A: hi\r\nB: é");
    EXPECT_EQ(dialogues[1].id, "2");
    EXPECT_EQ(dialogues[1].summary, "C is there.");
  }
}

TEST(Samsum, ErrorsSayWhere) {
  const TemporaryDirectory folder;
  const std::string good = "{\"id\": \"1\", \"dialogue\": \"d\", \"summary\": \"s\"}\n";
  const auto error = [&](const std::string& line) {
    return error_of([&] { read_samsum(folder.write("a.jsonl", good + line)); });
  };
  EXPECT_NE(error("{\"id\": \"2\", \"dialogue\": \"d\"}").find("a.jsonl:2: \"summary\" is missing"), std::string::npos);
  EXPECT_NE(error("{\"id\": \"2\", \"dialogue\": \"\", \"summary\": \"s\"}").find("a.jsonl:2: the dialogue is empty"),
            std::string::npos);
  EXPECT_NE(error("{\"id\": \"2\", \"dialogue\": \"d\", \"summary\": \"\"}").find("a.jsonl:2: the summary is empty"),
            std::string::npos);
  EXPECT_NE(error(good).find("a.jsonl:2: the id '1' was there before"), std::string::npos);
  EXPECT_NE(error("{\"id\": \"2\"").find("a.jsonl:2"), std::string::npos);
  EXPECT_NE(error_of([&] { read_samsum(folder.write("b.jsonl", "\n")); }).find("b.jsonl: holds no dialogues"),
            std::string::npos);
}

TEST(Samsum, TheRealFilesHaveTheirRows) {
  const auto folder = data_file("samsum");
  HEDGEHOG_SKIP_WITHOUT(folder);
  EXPECT_EQ(read_samsum(folder / "train.jsonl.zst").size(), 14'731u);
  EXPECT_EQ(read_samsum(folder / "validation.jsonl.zst").size(), 818u);
  EXPECT_EQ(read_samsum(folder / "test.jsonl.zst").size(), 819u);
}

}  // namespace
}  // namespace hedgehog

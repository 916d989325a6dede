#include "hedgehog/data/glue.h"

#include "tests/support/compressed.h"
#include "tests/support/data_file.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace hedgehog {
namespace {

using testing::compressed;
using testing::data_file;
using testing::error_of;
using testing::TemporaryDirectory;

/// A file of each task in its official columns, with one row.
const std::map<std::string, std::string> kFiles = {
    {"CoLA", "gj04\t1\t\tA \"sentence.\n"},
    {"SST-2", "sentence\tlabel\nfirst  \t1\n"},
    {"MRPC", "\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tfirst\tsecond\n"},
    {"STS-B",
     "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
     "0\tg\tf\t2012\t1\tnone\tnone\tfirst\tsecond\t3.800\n"},
    {"QQP", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tfirst\tsecond\t1\n"},
    {"MNLI",
     "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\t"
     "sentence1\tsentence2\tlabel1\tgold_label\n0\t1\t1n\tg\t( )\t( )\t(R)\t(R)\tfirst\tsecond\tneutral\tneutral\n"},
    {"QNLI", "index\tquestion\tsentence\tlabel\n0\tfirst\tsecond\tnot_entailment\n"},
    {"RTE", "index\tsentence1\tsentence2\tlabel\n0\tfirst\tsecond\tnot_entailment\n"},
    {"WNLI", "index\tsentence1\tsentence2\tlabel\n0\tfirst\tsecond\t1\n"},
};

TEST(Glue, EveryTaskIsReadInItsOfficialColumns) {
  const TemporaryDirectory folder;
  ASSERT_EQ(glue_tasks().size(), kFiles.size());
  for (const GlueTask& task : glue_tasks()) {
    const GlueExamples read = read_glue(task, folder.write(task.name + ".tsv", kFiles.at(task.name)));
    ASSERT_EQ(read.examples.size(), 1u) << task.name;
    const TextExample& example = read.examples[0];
    EXPECT_EQ(example.text, task.name == "CoLA" ? "A \"sentence." : task.name == "SST-2" ? "first  " : "first");
    EXPECT_EQ(example.second, task.second.empty() ? std::nullopt : std::optional<std::string>("second")) << task.name;
    EXPECT_EQ(example.label, task.name == "STS-B" ? 3.8 : 1.0) << task.name;
    EXPECT_EQ(read.skipped_rows, 0);
    EXPECT_FALSE(task.metrics.empty());
  }
}

TEST(Glue, MnliHasMoreLabelColumnsInItsOtherParts) {
  const TemporaryDirectory folder;
  const auto file =
      folder.write("dev_matched.tsv",
                   "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
                   "sentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n"
                   "0\t1\t1n\tg\t( )\t( )\t(R)\t(R)\ta\tb\tneutral\tneutral\tneutral\tneutral\tneutral\tcontradiction\n");
  EXPECT_EQ(read_glue(glue_task("mnli"), file).examples[0].label, 2);
}

TEST(Glue, QqpLeavesOutRowsThatNewlinesBrokeAndCountsThem) {
  const TemporaryDirectory folder;
  const auto file = folder.write("train.tsv", kFiles.at("QQP") + "1\t2\t3\tHow to\nbreak?\tb\t0\n4\t5\t6\tc\td\t0\n");
  const GlueExamples read = read_glue(glue_task("QQP"), file);
  EXPECT_EQ(read.examples.size(), 2u);
  EXPECT_EQ(read.skipped_rows, 2);
}

TEST(Glue, ErrorsSayWhere) {
  const TemporaryDirectory folder;
  const auto error = [&](const char* task, const std::string& bytes) {
    return error_of([&] { read_glue(glue_task(task), folder.write("a.tsv", bytes)); });
  };
  const auto says = [](const std::string& error, const char* what) { return error.find(what) != std::string::npos; };
  EXPECT_TRUE(says(error("SST-2", "sentence\tlabel\nx\t0\ny\t2\n"), "a.tsv:3: unknown label '2'"));
  EXPECT_TRUE(
      says(error("RTE", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tneutral\n"), "labels are entailment, not_entailment"));
  EXPECT_TRUE(says(error("SST-2", "sentence\tgold\nx\t0\n"), "a.tsv:1: the column 'label' is missing"));
  EXPECT_TRUE(says(error("SST-2", "sentence\tlabel\nx\t0\ncut\n"), "a.tsv:3: the row has 1"));
  EXPECT_TRUE(says(error("SST-2", "sentence\tlabel\nx\xFF\t0\n"), "a.tsv:2: byte 1 of the line is not UTF-8"));
  EXPECT_TRUE(says(error("SST-2", "sentence\tlabel\n"), "a.tsv: holds no examples of SST-2"));
  EXPECT_TRUE(says(error("SST-2", ""), "a.tsv: is empty"));
  const std::string scores = kFiles.at("STS-B").substr(0, kFiles.at("STS-B").rfind("3.800"));
  for (const char* score : {"5.1", "-0.1", "x", "", "nan", "3.8x"}) {
    EXPECT_TRUE(says(error("STS-B", scores + score + "\n"), "a.tsv:2: '")) << score;
  }
  EXPECT_TRUE(says(error_of([] { glue_task("CoLa2"); }), "CoLA, SST-2"));
}

TEST(Glue, FilesAreFoundPackedOrPlain) {
  const TemporaryDirectory folder;
  std::filesystem::create_directory(folder / "SST-2");
  folder.write("SST-2/dev.tsv", kFiles.at("SST-2"));
  folder.write("SST-2/train.tsv.zst", compressed(kFiles.at("SST-2")));
  const GlueTask& task = glue_task("SST-2");
  EXPECT_EQ(glue_file(folder.path(), task, "dev"), folder / "SST-2/dev.tsv");
  EXPECT_EQ(read_glue(task, glue_file(folder.path(), task, "train")).examples.size(), 1u);
  EXPECT_NE(error_of([&] { glue_file(folder.path(), glue_task("RTE"), "dev"); }).find("RTE/dev.tsv"), std::string::npos);
  EXPECT_NE(error_of([&] { glue_file(folder.path(), task, "test"); }).find("train, dev"), std::string::npos);
}

struct Counted {
  const char *task, *split;
  std::size_t rows, ones;  // ones: of class 1
};

TEST(Glue, TheRealFilesHaveTheirRowsAndLabels) {
  const auto folder = data_file("glue");
  HEDGEHOG_SKIP_WITHOUT(folder);
  constexpr Counted kCounts[] = {{"CoLA", "train", 8551, 6023}, {"CoLA", "dev", 1043, 721},    {"SST-2", "train", 67349, 37569},
                                 {"SST-2", "dev", 872, 444},    {"MRPC", "train", 3667, 2473}, {"MRPC", "dev", 408, 279},
                                 {"RTE", "train", 2490, 1241},  {"RTE", "dev", 277, 131},      {"WNLI", "train", 635, 312},
                                 {"WNLI", "dev", 71, 31}};
  for (const auto& [name, split, rows, ones] : kCounts) {
    const GlueTask& task = glue_task(name);
    const GlueExamples read = read_glue(task, glue_file(folder, task, split));
    EXPECT_EQ(read.examples.size(), rows) << name << " " << split;
    EXPECT_EQ(std::count_if(read.examples.begin(), read.examples.end(), [](const auto& each) { return each.label == 1; }),
              static_cast<std::ptrdiff_t>(ones))
        << name << " " << split;
    for (const TextExample& example : read.examples) {
      ASSERT_FALSE(example.text.empty());
      ASSERT_EQ(example.second.has_value(), !task.second.empty());
    }
  }
  const GlueTask& task = glue_task("STS-B");
  for (const auto& [split, rows, sum] : {std::tuple("train", 5749u, 15528.043), std::tuple("dev", 1500u, 3545.861)}) {
    const GlueExamples read = read_glue(task, glue_file(folder, task, split));
    double scores = 0;
    for (const TextExample& example : read.examples) scores += example.label;
    EXPECT_EQ(read.examples.size(), rows);
    EXPECT_NEAR(scores, sum, 1e-3);
  }
}

}  // namespace
}  // namespace hedgehog

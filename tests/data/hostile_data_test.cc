// Damaged files of every data set's format: each is read whole or throws Error.
#include "hedgehog/data/aan.h"
#include "hedgehog/data/cifar10.h"
#include "hedgehog/data/glue.h"
#include "hedgehog/data/imdb.h"
#include "hedgehog/data/listops.h"
#include "hedgehog/data/samsum.h"
#include "tests/support/compressed.h"
#include "tests/support/mutator.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <functional>

namespace hedgehog {
namespace {

struct Format {
  const char* name;
  std::string bytes;
  std::function<void(const std::filesystem::path&)> read;
};

std::vector<Format> formats() {
  std::string glue = "sentence\tlabel\n", scores = "sentence1\tsentence2\tscore\n", dialogues, reviews, papers,
              lists = "Source\tTarget\n", images;
  for (int i = 0; i < 20; ++i) {
    const std::string number = std::to_string(i), label = std::to_string(i % 2);
    glue += "A sentence, number " + number + "\t" + label + "\n";
    scores += "One\tTwo " + number + "\t" + std::to_string(i % 5) + ".250\n";
    dialogues += "{\"id\": \"" + number + "\", \"dialogue\": \"A: hi\\nB: h\\u00e9\", \"summary\": \"They greet\"}\n";
    reviews += "{\"label\": " + label + ", \"text\": \"It is good <br /> \", \"id\": \"" + number + "\"}\n";
    papers += label + "\tP1\tP" + number + "\tThe first paper\tand the second\n";
    lists += "[MAX 2 9 [MIN 4 7 ] " + std::to_string(i % 10) + " ]\t9\n";
    images += static_cast<char>(i % 10) + std::string(16, static_cast<char>(i));
  }
  return {{"glue.tsv", glue, [](const auto& path) { read_glue(glue_task("SST-2"), path); }},
          {"scores.tsv", scores, [](const auto& path) { read_glue(glue_task("STS-B"), path); }},
          {"samsum.jsonl", dialogues, [](const auto& path) { read_samsum(path); }},
          {"imdb.jsonl", reviews, [](const auto& path) { read_imdb(path); }},
          {"aan.tsv", papers, [](const auto& path) { read_aan(path); }},
          {"listops.tsv", lists, [](const auto& path) { read_listops(path); }},
          {"cifar10.bin", images, [](const auto& path) { read_cifar10(path, 4); }}};
}

void expect_errors_only(const Format& format, const std::string& name, const std::string& original, int least_refused) {
  const testing::TemporaryDirectory folder;
  format.read(folder.write(name, original));  // what is undamaged is read
  testing::Mutator mutator(17);
  constexpr int kMutations = 600;
  int refused = 0;
  for (int i = 0; i < kMutations; ++i) {
    const auto path = folder.write(name, mutator.mutate(original));
    try {
      format.read(path);
    } catch (const Error& error) {
      ++refused;
      EXPECT_NE(std::string_view(error.what()).find(name), std::string_view::npos) << error.what();
    } catch (const std::exception& error) {
      ADD_FAILURE() << name << ", " << mutator.what() << ": no Error but " << error.what();
    }
  }
  EXPECT_GE(refused, least_refused) << name;
}

TEST(HostileData, DamagedFilesAreReadOrRefused) {
  for (const Format& format : formats()) expect_errors_only(format, format.name, format.bytes, 60);
}

TEST(HostileData, DamagedZstdIsReadOrRefused) {
  for (const Format& format : formats()) {
    expect_errors_only(format, std::string(format.name) + ".zst", testing::compressed(format.bytes), 300);
  }
}

}  // namespace
}  // namespace hedgehog

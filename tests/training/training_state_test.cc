#include "hedgehog/training/training_state.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::TemporaryDirectory;

const nlohmann::json kIdentity = {{"recipe", {{"rank", 8}, {"targets", {"q", "k"}}}}, {"corpus", "c0"}, {"base", "b0"}};

class Messages : public Progress {
 public:
  void message(std::string_view text) override { all += std::string(text) + "\n"; }
  std::string all;
};

NamedTensors tensors(double value) {
  return {{"w", at::full({40, 50}, value)}, {"n", at::scalar_tensor(7, at::kLong)}};
}

void write_steps(const fs::path& folder, int steps) {
  TrainingStateStore store(folder, kIdentity);
  for (int step = 1; step <= steps; ++step) store.write(tensors(step), {{"step", step}});
}

/// The step of the state that is read, and that its tensors belong to it.
int step_read(const fs::path& folder, Messages& messages) {
  const auto state = TrainingStateStore(folder, kIdentity).read(messages);
  if (!state) return 0;
  const int step = state->position.at("step").get<int>();
  EXPECT_EQ(state->tensors->load("w")[3][4].item<double>(), step);
  EXPECT_EQ(state->tensors->load("n").item<std::int64_t>(), 7);
  return step;
}

void flip(const fs::path& path, std::size_t at) {
  std::string bytes = read_text_file(path);
  ASSERT_LT(at, bytes.size());
  bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
  write_text_file(path, bytes);
}

TEST(TrainingState, TheNewestGenerationIsReadAndTwoAreKept) {
  const TemporaryDirectory folder;
  Messages messages;
  EXPECT_EQ(step_read(folder.path(), messages), 0);
  for (int steps = 1; steps < 5; ++steps) {
    const fs::path run = folder / std::to_string(steps);
    write_steps(run, steps);
    EXPECT_EQ(step_read(run, messages), steps);
    EXPECT_EQ(std::distance(fs::directory_iterator(run), fs::directory_iterator()), std::min(steps, 2));
  }
  EXPECT_EQ(messages.all, "");
}

TEST(TrainingState, WritingGoesOnAfterReading) {
  const TemporaryDirectory folder;
  Messages messages;
  write_steps(folder.path(), 3);
  TrainingStateStore store(folder.path(), kIdentity);
  ASSERT_TRUE(store.read(messages));
  store.write(tensors(4), {{"step", 4}});
  EXPECT_EQ(step_read(folder.path(), messages), 4);
  fs::resize_file(folder / "state-b.safetensors", 100);
  EXPECT_EQ(step_read(folder.path(), messages), 3);
}

TEST(TrainingState, ADamagedNewestFallsBackWithAMessage) {
  for (const std::size_t at : {std::size_t{3}, std::size_t{60}, std::size_t{5000}}) {  // length, header, a tensor's bytes
    const TemporaryDirectory folder;
    Messages messages;
    write_steps(folder.path(), 3);
    flip(folder / "state-a.safetensors", at);
    EXPECT_EQ(step_read(folder.path(), messages), 2) << at;
    EXPECT_NE(messages.all.find("state-a.safetensors"), std::string::npos) << at;
  }
}

TEST(TrainingState, BothDamagedIsAnError) {
  const TemporaryDirectory folder;
  Messages messages;
  write_steps(folder.path(), 2);
  flip(folder / "state-a.safetensors", 5000);
  fs::resize_file(folder / "state-b.safetensors", 4000);
  const std::string error = error_of([&] { TrainingStateStore(folder.path(), kIdentity).read(messages); });
  EXPECT_NE(error.find("state-a"), std::string::npos);
  EXPECT_NE(error.find("state-b"), std::string::npos);
}

TEST(TrainingState, AnotherRecipeIsNamed) {
  const TemporaryDirectory folder;
  Messages messages;
  write_steps(folder.path(), 2);
  nlohmann::json other = kIdentity;
  other["recipe"]["rank"] = 16;
  other["corpus"] = "c1";
  const std::string error = error_of([&] { TrainingStateStore(folder.path(), other).read(messages); });
  EXPECT_NE(error.find("recipe.rank was 8 and is now 16"), std::string::npos) << error;
  EXPECT_NE(error.find("corpus was \"c0\" and is now \"c1\""), std::string::npos) << error;
  EXPECT_EQ(error.find("base"), std::string::npos) << error;
}

TEST(TrainingState, AFullDiskLeavesThePreviousState) {
  const TemporaryDirectory folder;
  Messages messages;
  write_steps(folder.path(), 2);
  TrainingStateStore store(folder.path(), kIdentity);
  ASSERT_TRUE(store.read(messages));
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // write() then fails as it does on a full disk
  rlimit small = before;
  small.rlim_cur = 2000;
  setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THROW(store.write(tensors(3), {{"step", 3}}), Error);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(step_read(folder.path(), messages), 2);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2);
  store.write(tensors(3), {{"step", 3}});
  EXPECT_EQ(step_read(folder.path(), messages), 3);
}

TEST(TrainingState, OnlyAFinishedRunIsBegunAnew) {
  const TemporaryDirectory folder;
  Messages messages;
  TrainingStateStore store(folder.path(), kIdentity);
  store.begin_anew();
  store.write(tensors(1), {{"step", 1}});
  EXPECT_NE(error_of([&] { TrainingStateStore(folder.path(), kIdentity).begin_anew(); }).find("--resume"), std::string::npos);
  store.write(tensors(2), {{"step", 2}});
  store.finish();
  // One that is taken up again is not finished any more.
  EXPECT_EQ(step_read(folder.path(), messages), 2);
  EXPECT_THROW(TrainingStateStore(folder.path(), kIdentity).begin_anew(), Error);
  store.finish();
  TrainingStateStore(folder.path(), kIdentity).begin_anew();
  EXPECT_EQ(step_read(folder.path(), messages), 0);
  TrainingStateStore(folder.path() / "of a run without stages", kIdentity).finish();
}

}  // namespace
}  // namespace hedgehog

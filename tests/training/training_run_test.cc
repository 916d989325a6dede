// Stopped and resumed runs against uninterrupted ones, byte for byte; and what the stages train.
#include "hedgehog/training/training_run.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/training/conversion.h"
#include "tests/inference/tiny_model.h"
#include "tests/support/temporary_directory.h"
#include "tests/training/patterned_corpus.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <csignal>
#include <sstream>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::TemporaryDirectory;
using testing::tiny_model;

AttentionConfig hybrid() {
  AttentionConfig config;
  config.kind = AttentionKind::kHybrid;
  config.window = 4;
  config.sinks = 1;
  return config;
}

ConversionConfig two_stages(FinetuningKind kind) {
  ConversionConfig config;
  config.attention = hybrid();
  DistillationConfig phase;
  phase.tokens = 5 * 2 * 24;
  phase.length = 24;
  phase.batch = 2;
  phase.updates = 2;  // ten steps; what is saved after five is in the middle of a batch
  phase.output_factor = 1;
  config.distillation = {phase};
  FinetuningConfig& finetuning = config.finetuning;
  finetuning.kind = kind;
  finetuning.tokens = 10 * 2 * 2 * 24;
  finetuning.length = 24;
  finetuning.batch = 2;
  finetuning.accumulate = 2;
  finetuning.learning_rate = 1e-2;
  finetuning.map_learning_rate = 1e-2;
  finetuning.weight_decay = 0.01;
  finetuning.warmup = 2;
  finetuning.lora_rank = 2;
  finetuning.teacher_factor = 0.5;
  config.seed = 3;
  return config;
}

struct Killed {};

/// Ends the run from inside after so many steps, as a signal that nothing catches would: no more is saved.
class KillAfter : public Progress {
 public:
  explicit KillAfter(int steps) : left_(steps) {}
  void begin(std::string_view, std::int64_t) override { first_ = true; }
  void update(std::int64_t, std::string_view) override {
    if (std::exchange(first_, false)) return;  // where the stage stands as it begins
    if (--left_ == 0) throw Killed{};
  }

 private:
  int left_;
  bool first_ = false;
};

struct Outcome {
  std::string weights;  // the bytes of an adapter
  nlohmann::json reports;
  std::vector<std::string> log;  // without the timing
};

Outcome train(const ConversionConfig& config, const fs::path& directory, bool resume, Progress& progress) {
  const Corpus text = testing::patterned_corpus(60);
  Decoder model = tiny_model(config.attention);
  TrainingRun run;
  run.directory = directory;
  run.identity = run_identity(config, text, "base", model);
  run.resume = resume;
  run.save_every = 5;
  run.save_minutes = 0;
  run.measure = [&] { return model.layers()[0].attention.parameters()[0].second->abs().sum().item<double>(); };
  Outcome outcome;
  outcome.reports = run_stages(conversion_stages(model, text, config), run, progress);
  for (auto& report : outcome.reports) {
    EXPECT_GT(report.at("seconds").get<double>(), 0);
    report.erase("seconds");
    EXPECT_EQ(report.contains("measured"), &report != &outcome.reports.back());
  }
  NamedTensors tensors;
  for (const auto& [name, tensor] : adapter_tensors(model, true)) tensors.emplace_back(name, tensor->detach());
  write_safetensors(directory / "weights.safetensors", tensors);
  outcome.weights = read_text_file(directory / "weights.safetensors");
  std::istringstream lines(read_text_file(directory / "training.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json json = nlohmann::json::parse(line);
    EXPECT_GT(json.at("tokens_per_second").get<double>(), 0);
    json.erase("tokens_per_second");
    outcome.log.push_back(json.dump());
  }
  return outcome;
}

class TrainingRunTest : public testing::OneThread {};
using TrainingRunDeathTest = TrainingRunTest;

struct Case {
  FinetuningKind kind;
  int threads;
  std::vector<std::vector<int>> kills;  // of several runs: after how many steps, and after how many more once resumed
};

class Resume : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { at::set_num_threads(GetParam().threads); }
};

TEST_P(Resume, ArrivesWhereTheUninterruptedRunDoes) {
  const TemporaryDirectory folder;
  const ConversionConfig config = two_stages(GetParam().kind);
  Progress silent;
  const Outcome whole = train(config, folder / "whole", false, silent);
  EXPECT_EQ(whole.log.size(), 20u);
  EXPECT_EQ(whole.reports.size(), 2u);
  for (const std::vector<int>& kills : GetParam().kills) {
    const fs::path directory = folder / "killed";
    fs::remove_all(directory);
    bool resume = false;
    for (const int steps : kills) {
      KillAfter kill(steps);
      EXPECT_THROW(train(config, directory, std::exchange(resume, true), kill), Killed);
    }
    const Outcome resumed = train(config, directory, true, silent);
    EXPECT_TRUE(resumed.weights == whole.weights) << kills.front();
    EXPECT_EQ(resumed.reports, whole.reports) << kills.front();
    EXPECT_EQ(resumed.log, whole.log) << kills.front();
  }
  // A finished run has nothing left to do, and gives the same again.
  EXPECT_TRUE(train(config, folder / "whole", true, silent).weights == whole.weights);
}

// Before the first save, at the distillation's end, in it and again in the finetuning, in the finetuning.
INSTANTIATE_TEST_SUITE_P(TrainingRun, Resume,
                         ::testing::Values(Case{FinetuningKind::kLora, 1, {{3}, {10}, {7, 10}, {18}}},
                                           Case{FinetuningKind::kFull, 1, {{7, 10}, {18}}},
                                           Case{FinetuningKind::kLora, 2, {{13}}}),
                         [](const auto& info) {
                           return to_string(info.param.kind) + std::to_string(info.param.threads) + "threads";
                         });

TEST_F(TrainingRunTest, ADamagedStateFallsBackToTheOneBefore) {
  const TemporaryDirectory folder;
  const ConversionConfig config = two_stages(FinetuningKind::kLora);
  Progress silent;
  const Outcome whole = train(config, folder / "whole", false, silent);
  KillAfter kill(17);
  EXPECT_THROW(train(config, folder / "killed", false, kill), Killed);
  // Saved at 5, 10, 15: a, b, a.
  const fs::path newest = folder / "killed" / "state" / "state-a.safetensors";
  std::string bytes = read_text_file(newest);
  bytes[bytes.size() - 9] = static_cast<char>(bytes[bytes.size() - 9] ^ 1);
  write_text_file(newest, bytes);
  EXPECT_TRUE(train(config, folder / "killed", true, silent).weights == whole.weights);
}

TEST_F(TrainingRunTest, RefusesAnotherRecipeAndAForgottenFlag) {
  const TemporaryDirectory folder;
  ConversionConfig config = two_stages(FinetuningKind::kLora);
  KillAfter kill(7);
  EXPECT_THROW(train(config, folder.path(), false, kill), Killed);
  Progress silent;
  EXPECT_NE(error_of([&] { train(config, folder.path(), false, silent); }).find("--resume"), std::string::npos);
  config.finetuning.lora_rank = 4;
  const std::string error = error_of([&] { train(config, folder.path(), true, silent); });
  EXPECT_NE(error.find("recipe.finetuning.lora_rank was 2 and is now 4"), std::string::npos) << error;
}

TEST_F(TrainingRunDeathTest, CtrlCSavesAndStops) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const fs::path directory = fs::path(::testing::TempDir()) / "hedgehog-interrupted-run";
  const TemporaryDirectory folder;
  const ConversionConfig config = two_stages(FinetuningKind::kLora);
  fs::remove_all(directory);
  EXPECT_EXIT(
      {
        catch_interrupts();
        std::raise(SIGINT);
        Progress quiet;
        try {
          train(config, directory, false, quiet);
        } catch (const Interrupted&) {
          std::_Exit(130);
        }
      },
      ::testing::ExitedWithCode(130), "");
  ASSERT_TRUE(fs::exists(directory / "state" / "state-a.safetensors"));
  Progress silent;
  const Outcome resumed = train(config, directory, true, silent);
  EXPECT_TRUE(resumed.weights == train(config, folder / "whole", false, silent).weights);
  fs::remove_all(directory);
}

}  // namespace
}  // namespace hedgehog

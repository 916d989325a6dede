// The loop over stages and steps: log, saved states, resume, Ctrl-C.
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/training/stage.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace hedgehog {

struct TrainingRun {
  std::filesystem::path directory;  // state/ and training.jsonl go there
  nlohmann::json identity;          // recipe, corpus, base model: what a resumed run must find again
  bool resume = false;
  std::int64_t save_every = 0;  // steps, 0: by time only
  double save_minutes = 5;
  std::string counted = "tok";  // what StepResult::tokens are, for the progress line: tasks count examples
  /// Called when a stage but the last is over; what it gives joins the stage's report as "measured".
  std::function<nlohmann::json()> measure = {};
};

/// Runs the stages one after the other and returns their reports in a list, each with the "seconds" that its steps took, also
/// before a stop. training.jsonl gets a line a step: stage, step,
/// tokens, loss, kl, lr, tokens_per_second. With `resume` it goes on from the saved state, if there is one, and arrives where
/// the run would have without a stop, bit for bit with as many threads. On Ctrl-C it saves and throws Interrupted.
/// Throws Error for an unfinished state in `directory` without `resume`, and all that TrainingStateStore throws.
nlohmann::json run_stages(const std::vector<StageMaker>& stages, const TrainingRun& run, Progress& progress);

/// Throws what run_stages() would throw at its start: for a run that comes after hours of another.
void check_run(const TrainingRun& run);

/// To be called when all that comes of the run is written: until then a stopped program goes on with `resume`, and one that
/// was called without it is refused, so that nothing is trained twice.
void finish_run(const TrainingRun& run);

}  // namespace hedgehog

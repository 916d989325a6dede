#include "hedgehog/training/training_run.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/training/training_state.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <cstdio>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kStateFolder = "state";

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// JSON lines, cut back on resume to what the saved state knows of.
class TrainingLog {
 public:
  TrainingLog(fs::path path, std::uintmax_t bytes) : path_(std::move(path)), bytes_(bytes) {
    std::error_code problem;
    const std::uintmax_t size = fs::file_size(path_, problem);
    if (!problem && size > bytes_) fs::resize_file(path_, bytes_, problem);
    if (!problem && size < bytes_) bytes_ = size;
    if (problem) bytes_ = 0;
    file_ = std::fopen(path_.c_str(), bytes_ > 0 ? "a" : "w");
    check(file_ != nullptr, "{}: cannot be written", path_.string());
  }
  ~TrainingLog() { std::fclose(file_); }
  TrainingLog(const TrainingLog&) = delete;
  TrainingLog& operator=(const TrainingLog&) = delete;

  void write(const nlohmann::ordered_json& line) {
    const std::string text = line.dump() + "\n";
    check(std::fwrite(text.data(), 1, text.size(), file_) == text.size() && std::fflush(file_) == 0,
          "{}: writing failed: is the disk full?", path_.string());
    bytes_ += text.size();
  }
  std::uintmax_t bytes() const { return bytes_; }

 private:
  fs::path path_;
  std::uintmax_t bytes_;
  std::FILE* file_ = nullptr;
};

/// Where the run stands between two steps; what `position` of a state holds.
struct Position {
  std::size_t stage = 0;
  std::int64_t step = 0, tokens = 0;
  std::uintmax_t log_bytes = 0;
  nlohmann::json in_stage = nlohmann::json::object();
  nlohmann::json reports = nlohmann::json::array();  // of the stages before
  double seconds = 0;                                // in this stage, also of processes that were stopped

  nlohmann::json to_json() const {
    return {{"stage", stage},       {"step", step},       {"tokens", tokens},   {"log_bytes", log_bytes},
            {"in_stage", in_stage}, {"reports", reports}, {"seconds", seconds}, {"threads", at::get_num_threads()}};
  }
  static Position from_json(const nlohmann::json& json) {
    try {
      return {json.at("stage").get<std::size_t>(),
              json.at("step").get<std::int64_t>(),
              json.at("tokens").get<std::int64_t>(),
              json.at("log_bytes").get<std::uintmax_t>(),
              json.at("in_stage"),
              json.at("reports"),
              json.value("seconds", 0.0)};
    } catch (const nlohmann::json::exception& error) {
      fail("the saved training state's position is damaged: {}", error.what());
    }
  }
};

void save(TrainingStateStore& store, Stage& stage, Position& position, const TrainingLog& log) {
  NamedTensors tensors;
  for (const auto& [name, tensor] : stage.weights()) tensors.emplace_back(name, *tensor);
  if (position.step < stage.steps()) {  // after the last step the moments are of no more use
    const NamedTensors moments = stage.optimizer().state();
    tensors.insert(tensors.end(), moments.begin(), moments.end());
  }
  position.in_stage = stage.position();
  position.log_bytes = log.bytes();
  store.write(tensors, position.to_json());
}

// What a resumed run goes on from, if there is anything.
std::optional<TrainingState> begin(TrainingStateStore& store, const TrainingRun& run, Progress& progress) {
  if (run.resume) return store.read(progress);
  store.begin_anew();
  return std::nullopt;
}

void restore(Stage& stage, const TrainingState& state, const Position& position) {
  const at::NoGradGuard no_gradient;
  for (const auto& [name, tensor] : stage.weights()) {
    const at::Tensor saved = state.tensors->load(name);
    check(saved.sizes() == tensor->sizes() && saved.scalar_type() == tensor->scalar_type(),
          "{}: '{}' has another shape or dtype than the model's; was the run begun with another --dtype?",
          state.tensors->origin(), name);
    tensor->detach().copy_(saved);
  }
  if (position.step < stage.steps()) stage.optimizer().restore(*state.tensors);
  stage.set_position(position.in_stage);
}

}  // namespace

nlohmann::json run_stages(const std::vector<StageMaker>& stages, const TrainingRun& run, Progress& progress) {
  std::error_code problem;
  fs::create_directories(run.directory, problem);
  check(!problem, "{}: cannot be made: {}", run.directory.string(), problem.message());
  const fs::path state_directory = run.directory / kStateFolder;
  TrainingStateStore store(state_directory, run.identity);
  std::optional<TrainingState> state = begin(store, run, progress);
  Position position;
  if (state) {
    position = Position::from_json(state->position);
    check(position.stage < stages.size(), "{}: the saved state is in stage {} of {}", state_directory.string(), position.stage,
          stages.size());
    if (const int threads = state->position.value("threads", 0); threads != at::get_num_threads()) {
      progress.message(fmt::format("the run began with {} threads and goes on with {}: results are equal up to rounding only",
                                   threads, at::get_num_threads()));
    }
  }

  TrainingLog log(run.directory / "training.jsonl", position.log_bytes);
  auto saved_at = Clock::now();
  for (; position.stage < stages.size(); ++position.stage, position.step = 0, position.seconds = 0) {
    const std::unique_ptr<Stage> stage = stages[position.stage]();
    if (state) {
      restore(*stage, *state, position);
      progress.message(fmt::format("going on with {} at step {} of {}", stage->name(), position.step, stage->steps()));
      state.reset();
    }
    progress.begin(stage->name(), stage->steps());
    progress.update(position.step, "");
    while (position.step < stage->steps()) {
      const auto begun = Clock::now();
      const StepResult result = stage->step(position.step);
      ++position.step;
      position.tokens += result.tokens;
      const double seconds = seconds_since(begun), speed = static_cast<double>(result.tokens) / std::max(seconds, 1e-9);
      position.seconds += seconds;
      nlohmann::ordered_json line = {{"stage", stage->name()},    {"step", position.step}, {"tokens", position.tokens},
                                     {"loss", result.loss},       {"kl", result.kl},       {"lr", result.learning_rate},
                                     {"tokens_per_second", speed}};
      line.update(result.details);
      log.write(line);
      const bool last = position.step == stage->steps();
      const bool due = (run.save_every > 0 && position.step % run.save_every == 0) ||
                       (run.save_minutes > 0 && seconds_since(saved_at) > 60 * run.save_minutes);
      const bool stop = interrupted();  // asked once: what is announced as saved must be
      if (last || due || stop) {
        if (last) {
          position.reports.push_back(stage->report());
          position.reports.back()["seconds"] = position.seconds;
          if (run.measure && position.stage + 1 < stages.size()) position.reports.back()["measured"] = run.measure();
        }
        save(store, *stage, position, log);
        saved_at = Clock::now();
      }
      progress.update(position.step, fmt::format("loss {:.3f} · {:.0f} {}/s", result.loss, speed, run.counted));
      if (stop) {
        progress.end();
        progress.message(fmt::format("stopped after step {} of {}; --resume goes on from here", position.step, stage->steps()));
        throw Interrupted{};
      }
    }
    progress.end();
  }
  return position.reports;
}

void check_run(const TrainingRun& run) {
  TrainingStateStore store(run.directory / kStateFolder, run.identity);
  Progress silent;
  begin(store, run, silent);
}

void finish_run(const TrainingRun& run) {
  TrainingStateStore(run.directory / kStateFolder, run.identity).finish();
}

}  // namespace hedgehog

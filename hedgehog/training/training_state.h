// What a killed run needs to go on bit for bit, on disk: two generations of a safetensors file with a checksum, in turns,
// so that whatever happens while the one is written the other is whole.
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/checkpoint/safetensors.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <optional>

namespace hedgehog {

struct TrainingState {
  nlohmann::json position;  // stage, step, place in the data, sums: whatever the writer put there
  std::shared_ptr<const TensorSource> tensors;
};

class TrainingStateStore {
 public:
  /// `identity` holds what must not change between a run and its continuation: recipe, corpus, base model.
  TrainingStateStore(std::filesystem::path directory, nlohmann::json identity);

  /// Deletes what a finished run left. Throws Error if the run was not finished: hours of work must not be lost to a forgotten
  /// flag.
  void begin_anew();

  /// From now on the run counts as finished: all that came of it is written elsewhere.
  void finish();

  /// Replaces the older generation. Throws Error when the disk is full; both generations stay as they were.
  void write(const NamedTensors& tensors, const nlohmann::json& position);

  /// The newest generation that is whole; a damaged one is passed over with a message. Nothing if there is none at all.
  /// Throws Error if all that are there are damaged, or if the identity differs: it names what.
  std::optional<TrainingState> read(Progress& progress);

 private:
  std::filesystem::path path(std::int64_t generation) const;
  std::filesystem::path finished_mark() const;

  std::filesystem::path directory_;
  nlohmann::json identity_;
  std::int64_t generation_ = 0;  // of the newest on disk; 0: none is known
};

/// "recipe.lora_rank was 8 and is now 16; ...": the leaves in which two JSON objects differ. Empty if none.
std::string differences(const nlohmann::json& before, const nlohmann::json& now);

}  // namespace hedgehog

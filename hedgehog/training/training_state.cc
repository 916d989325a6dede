#include "hedgehog/training/training_state.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <set>
#include <span>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "1";

/// Eight bytes a step, each step invertible: any single changed bit changes the sum. Guards against damage, not malice.
std::uint64_t mix(std::uint64_t sum, std::span<const std::byte> bytes) {
  const auto add = [&sum](std::uint64_t word) { sum = std::rotl((sum ^ word) * 0x9E3779B97F4A7C15ULL, 29); };
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data(), 8);
    add(word);
  }
  std::uint64_t rest = bytes.size();
  for (const std::byte byte : bytes) rest = rest << 8 | static_cast<std::uint64_t>(byte);
  add(rest);
  return sum;
}

std::uint64_t mix(std::uint64_t sum, const std::string& text) {
  return mix(sum, std::as_bytes(std::span(text)));
}

std::uint64_t mix(std::uint64_t sum, const std::string& name, const at::Tensor& tensor) {
  sum = mix(sum, name);
  return mix(sum, {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
}

std::int64_t generation_of(const SafetensorsFile& file) {
  const auto entry = file.metadata().find("generation");
  std::int64_t generation = 0;
  if (entry != file.metadata().end()) {
    std::from_chars(entry->second.data(), entry->second.data() + entry->second.size(), generation);
  }
  check(generation > 0, "{}: is no training state: its generation is missing", file.origin());
  return generation;
}

const std::string& metadata(const SafetensorsFile& file, const std::string& key) {
  const auto entry = file.metadata().find(key);
  check(entry != file.metadata().end(), "{}: is no training state: '{}' is missing", file.origin(), key);
  return entry->second;
}

nlohmann::json metadata_json(const SafetensorsFile& file, const std::string& key) {
  nlohmann::json json = nlohmann::json::parse(metadata(file, key), nullptr, false);
  check(json.is_object(), "{}: damaged: '{}' is no JSON object", file.origin(), key);
  return json;
}

void verify(const SafetensorsFile& file) {
  check(metadata(file, "format") == kFormat, "{}: is a training state of format {}, this program knows {}", file.origin(),
        metadata(file, "format"), kFormat);
  std::uint64_t sum = 0;
  for (const char* key : {"format", "generation", "identity", "position"}) sum = mix(sum, metadata(file, key));
  std::set<std::string> names;  // the file has an order of its own
  for (const TensorInfo& info : file.tensors()) names.insert(info.name);
  for (const std::string& name : names) sum = mix(sum, name, file.load(name));
  check(fmt::format("{:016x}", sum) == metadata(file, "checksum"), "{}: damaged: its checksum is wrong", file.origin());
}

}  // namespace

TrainingStateStore::TrainingStateStore(fs::path directory, nlohmann::json identity)
    : directory_(std::move(directory)), identity_(std::move(identity)) {}

fs::path TrainingStateStore::path(std::int64_t generation) const {
  return directory_ / (generation % 2 == 1 ? "state-a.safetensors" : "state-b.safetensors");
}

fs::path TrainingStateStore::finished_mark() const {
  return directory_ / "finished";
}

void TrainingStateStore::begin_anew() {
  const bool there = fs::exists(path(1)) || fs::exists(path(2));
  check(!there || fs::exists(finished_mark()),
        "{}: holds the state of an unfinished run; --resume goes on with it; delete the folder to begin anew",
        directory_.string());
  for (const std::int64_t slot : {1, 2}) {
    std::error_code problem;
    fs::remove(path(slot), problem);
    check(!problem, "{}: cannot be deleted: {}", path(slot).string(), problem.message());
  }
  std::error_code ignored;
  fs::remove(finished_mark(), ignored);
  generation_ = 0;
}

void TrainingStateStore::finish() {
  std::error_code problem;
  fs::create_directories(directory_, problem);  // a run without stages has written no state
  check(!problem, "{}: cannot be made: {}", directory_.string(), problem.message());
  write_text_file(finished_mark(), "");
}

void TrainingStateStore::write(const NamedTensors& tensors, const nlohmann::json& position) {
  std::error_code problem;
  fs::create_directories(directory_, problem);
  check(!problem, "{}: cannot be made: {}", directory_.string(), problem.message());
  std::map<std::string, std::string> metadata = {{"format", kFormat},
                                                 {"generation", std::to_string(generation_ + 1)},
                                                 {"identity", identity_.dump()},
                                                 {"position", position.dump()}};
  std::uint64_t sum = 0;
  for (const auto& [key, value] : metadata) sum = mix(sum, value);  // a map: in the order that verify() uses
  NamedTensors written;
  for (const auto& [name, tensor] : tensors) written.emplace_back(name, tensor.detach().contiguous());
  std::sort(written.begin(), written.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [name, tensor] : written) sum = mix(sum, name, tensor);
  metadata["checksum"] = fmt::format("{:016x}", sum);
  write_safetensors(path(generation_ + 1), written, metadata);
  ++generation_;
}

std::optional<TrainingState> TrainingStateStore::read(Progress& progress) {
  std::vector<std::pair<std::int64_t, std::shared_ptr<const SafetensorsFile>>> found;  // newest first
  std::string damage;
  const auto note = [&](const Error& error) { damage += (damage.empty() ? "" : "; ") + std::string(error.what()); };
  for (const std::int64_t slot : {1, 2}) {
    if (!fs::exists(path(slot))) continue;
    try {
      auto file = std::make_shared<const SafetensorsFile>(path(slot));
      const std::int64_t generation = generation_of(*file);
      check(path(generation) == path(slot), "{}: its generation {} belongs into the other file", file->origin(), generation);
      found.emplace_back(generation, std::move(file));
    } catch (const Error& error) {
      note(error);
    }
  }
  if (found.size() == 2 && found[0].first < found[1].first) std::swap(found[0], found[1]);
  for (const auto& [generation, file] : found) {
    TrainingState state;
    nlohmann::json identity;
    try {
      verify(*file);
      identity = metadata_json(*file, "identity");
      state.position = metadata_json(*file, "position");
    } catch (const Error& error) {
      note(error);
      continue;
    }
    const std::string changed = differences(identity, identity_);
    check(changed.empty(), "{}: this run cannot go on: {}; use what it began with, or another output folder",
          directory_.string(), changed);
    if (!damage.empty()) progress.message(damage + "; going on from the generation before it");
    generation_ = generation;
    state.tensors = file;
    std::error_code ignored;
    fs::remove(finished_mark(), ignored);  // it goes on
    return state;
  }
  check(damage.empty(), "{}; no training state is left that is whole: delete {} to begin anew", damage, directory_.string());
  return std::nullopt;
}

std::string differences(const nlohmann::json& before, const nlohmann::json& now) {
  const nlohmann::json flat_before = before.flatten(), flat_now = now.flatten();
  std::set<std::string> keys;
  for (const auto& [key, value] : flat_before.items()) keys.insert(key);
  for (const auto& [key, value] : flat_now.items()) keys.insert(key);
  std::string text;
  for (const std::string& key : keys) {
    const std::string old_value = flat_before.contains(key) ? flat_before[key].dump() : "absent";
    const std::string new_value = flat_now.contains(key) ? flat_now[key].dump() : "absent";
    if (old_value == new_value) continue;
    std::string name = key.substr(1);
    for (char& c : name) c = c == '/' ? '.' : c;
    text += fmt::format("{}{} was {} and is now {}", text.empty() ? "" : "; ", name, old_value, new_value);
  }
  return text;
}

}  // namespace hedgehog

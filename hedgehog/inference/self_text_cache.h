// The file in which a text that a model wrote is kept: token ids and document borders as safetensors, what they came from as
// its metadata.
#pragma once

#include "hedgehog/inference/self_text.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace hedgehog {

class SelfTextCache {
 public:
  SelfTextCache(const std::filesystem::path& folder, const std::string& model_sha256, const SelfTextConfig& config);

  const std::filesystem::path& path() const { return path_; }
  /// Nothing if the file is missing, damaged, or of another model or config. Tokens are below `vocabulary`.
  std::optional<Corpus> read(std::int64_t vocabulary) const;
  /// Makes the folder if it is missing. Throws Error if the file cannot be written.
  void write(const Corpus& corpus) const;

 private:
  std::filesystem::path path_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace hedgehog

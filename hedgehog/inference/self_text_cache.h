// The file in which a text that a model wrote, or has written so far, is kept: token ids and document borders as safetensors,
// what they came from as its metadata.
#pragma once

#include "hedgehog/inference/self_text.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace hedgehog {

struct WrittenText {
  Corpus corpus;
  std::int64_t documents = 0;  // that the model was asked for, also those that it ended at once
};

class SelfTextCache {
 public:
  SelfTextCache(const std::filesystem::path& folder, const std::string& model_sha256, const SelfTextConfig& config);

  const std::filesystem::path& path() const { return path_; }
  /// Nothing if the file is missing, damaged, or of another model or config. Tokens are below `vocabulary`.
  std::optional<WrittenText> read(std::int64_t vocabulary) const;
  /// Makes the folder if it is missing. Throws Error if the file cannot be written.
  void write(const WrittenText& text) const;

 private:
  std::filesystem::path path_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace hedgehog

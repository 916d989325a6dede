#include "hedgehog/checkpoint/checkpoint.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/mapped_file.h"
#include "hedgehog/base/sha256.h"
#include "hedgehog/checkpoint/gguf_translation.h"
#include "hedgehog/checkpoint/huggingface_directory.h"

#include <algorithm>
#include <system_error>

namespace hedgehog {

Checkpoint open_checkpoint(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  check(std::filesystem::exists(status), "{}: is not there: expected a model's directory or a GGUF file", path.string());
  if (std::filesystem::is_directory(status)) {
    return open_huggingface_directory(path);
  }
  check(is_gguf(path), "{}: is neither a directory nor a GGUF file{}", path.string(),
        path.extension() == ".safetensors" ? "; give the directory that holds it and config.json" : "");
  Checkpoint checkpoint;
  checkpoint.path = path;
  checkpoint.format = "gguf";
  const auto file = std::make_shared<const GgufFile>(path);
  checkpoint.config = translate_gguf_config(*file);
  checkpoint.tokenizer = translate_gguf_tokenizer(*file);
  checkpoint.tensors = std::make_shared<TranslatedGguf>(file, checkpoint.config);
  return checkpoint;
}

std::string checkpoint_sha256(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    return sha256_of_file(path);
  }
  std::vector<std::filesystem::path> files;
  for (std::filesystem::directory_iterator item(path, error), end; !error && item != end; item.increment(error)) {
    if (item->path().extension() == ".safetensors") {
      files.push_back(item->path());
    }
  }
  check(!error, "{}: cannot be listed: {}", path.string(), error.message());
  check(!files.empty(), "{}: holds no *.safetensors file", path.string());
  std::sort(files.begin(), files.end());
  Sha256 hash;
  for (const auto& file : files) {
    hash.update(MappedFile(file).bytes());
  }
  return hash.hexadecimal();
}

}  // namespace hedgehog

// The safetensors format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes.
// https://github.com/huggingface/safetensors; the reader checks every offset and length before use.
#pragma once

#include "hedgehog/base/mapped_file.h"
#include "hedgehog/checkpoint/tensor_source.h"

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hedgehog {

class SafetensorsFile : public TensorSource {
 public:
  /// Throws Error for any file that the reference library refuses.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  bool contains(const std::string& name) const override { return index_.contains(name); }
  at::Tensor load(const std::string& name) const override;
  std::string origin() const override { return file_.path().string(); }
  /// A tensor's bytes in the file, not copied; valid while this object is. Throws Error for a name that is not there.
  std::span<const std::byte> bytes(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  void parse_header();
  std::size_t place(const std::string& name) const;  // in tensors_

  MappedFile file_;
  std::vector<TensorInfo> tensors_;                          // never changed after the constructor: index_ points into it
  std::vector<std::size_t> offsets_;                         // of each tensor, from the start of the file
  std::unordered_map<std::string_view, std::size_t> index_;  // name to position in tensors_
  std::map<std::string, std::string> metadata_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Writes `path` atomically. dtypes: F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL. `metadata` goes to "__metadata__".
/// The bytes are a function of the arguments alone. Throws Error when the disk is full; a file that was there stays.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace hedgehog

// A checkpoint cut into several safetensors files, held together by model.safetensors.index.json: its weight_map says which
// file holds which tensor.
#pragma once

#include "hedgehog/checkpoint/safetensors.h"

#include <filesystem>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace hedgehog {

class ShardedSafetensors : public TensorSource {
 public:
  /// Opens every shard. Throws Error for a damaged index or shard, a shard that is not there or lies outside the index's
  /// folder, and a tensor that its shard lacks.
  explicit ShardedSafetensors(const std::filesystem::path& index);

  /// Shards in name order, each in file order; only what the weight_map names.
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  bool contains(const std::string& name) const override { return shard_of_.contains(name); }
  at::Tensor load(const std::string& name) const override;
  std::string origin() const override { return path_.string(); }

 private:
  std::filesystem::path path_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, const SafetensorsFile*> shard_of_;
};

}  // namespace hedgehog

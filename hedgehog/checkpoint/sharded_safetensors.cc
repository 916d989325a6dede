#include "hedgehog/checkpoint/sharded_safetensors.h"

#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_file.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>
#include <system_error>

namespace hedgehog {
namespace {

constexpr std::size_t kLargestIndex = std::size_t{64} << 20;
constexpr std::size_t kMostShards = 10'000;

}  // namespace

ShardedSafetensors::ShardedSafetensors(const std::filesystem::path& index) : path_(index) {
  const nlohmann::json json = read_json_object(index, kLargestIndex);
  const auto map = json.find("weight_map");
  check(map != json.end() && map->is_object(), "{}: has no object \"weight_map\"", origin());
  std::map<std::string, std::set<std::string>> names_in;
  for (const auto& [name, shard] : map->items()) {
    check(shard.is_string(), "{}: weight_map gives for {} a {}, expected a file name", origin(), name, shard.type_name());
    names_in[shard.get<std::string>()].insert(name);
  }
  check(names_in.size() <= kMostShards, "{}: names {} shards, more than {}", origin(), names_in.size(), kMostShards);
  for (const auto& [file, names] : names_in) {
    // A name, not a path: an index must not reach out of its own folder.
    check(!file.empty() && file != "." && file != ".." && file.size() < 256 && file.find('/') == std::string::npos &&
              file.find('\0') == std::string::npos,
          "{}: weight_map names the shard \"{}\", which is not a plain file name", origin(),
          file.substr(0, std::min<std::size_t>(64, file.find(char{}))));
    const std::filesystem::path shard_path = index.parent_path() / file;
    std::error_code error;
    check(std::filesystem::exists(shard_path, error), "{}: names the shard {}, which is not there", origin(),
          shard_path.string());
    const auto& shard = *shards_.emplace_back(std::make_unique<SafetensorsFile>(shard_path));
    std::size_t found = 0;
    for (const TensorInfo& info : shard.tensors()) {
      if (names.contains(info.name)) {
        tensors_.push_back(info);
        shard_of_.emplace(info.name, &shard);
        ++found;
      }
    }
    if (found < names.size()) {
      for (const std::string& name : names) {
        check(shard.contains(name), "{}: tensor {} should be in {}, and is not", origin(), name, shard_path.string());
      }
    }
  }
}

at::Tensor ShardedSafetensors::load(const std::string& name) const {
  const auto found = shard_of_.find(name);
  check(found != shard_of_.end(), "{}: has no tensor {}", origin(), name);
  return found->second->load(name);
}

}  // namespace hedgehog

// The GGUF format, versions 2 and 3, little-endian: metadata of typed keys, tensor descriptions, then the tensors' bytes.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The constructor checks every length and offset once; values are
// decoded out of the mapped file when they are asked for, so that a forged count costs no memory.
#pragma once

#include "hedgehog/base/mapped_file.h"
#include "hedgehog/checkpoint/tensor_source.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hedgehog {

enum class GgufValueType : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

class GgufFile : public TensorSource {
 public:
  /// Throws Error for a file that is damaged or no GGUF, and for a tensor of a type that cannot be read.
  explicit GgufFile(const std::filesystem::path& path);

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  bool contains(const std::string& name) const override { return index_.contains(name); }
  at::Tensor load(const std::string& name) const override;
  std::string origin() const override { return file_.path().string(); }

  std::uint32_t version() const { return version_; }
  /// Metadata keys, sorted.
  std::vector<std::string_view> keys() const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// The value of any type, arrays and nested arrays included. Throws Error if the key is missing or a string is not UTF-8.
  nlohmann::json value(std::string_view key) const;

  // Nothing if the key is missing; Error that names the key if its value is of another type.
  std::optional<std::int64_t> integer(std::string_view key) const;  // any integer type
  /// Any number. A 32-bit float becomes the double of its shortest decimal form: 1e-05, not 9.99999974e-06.
  std::optional<double> real(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  /// An array of strings, of 32-bit integers, of 32-bit floats; empty if the key is missing. Throws if a string is not UTF-8 or
  /// there are more elements than a file of this size is trusted to hold.
  std::vector<std::string> strings(std::string_view key) const;
  std::vector<std::int32_t> integers(std::string_view key) const;
  std::vector<float> floats(std::string_view key) const;

 private:
  struct Value {
    std::string_view key;
    std::uint64_t offset;  // of the value, after its type
    GgufValueType type;
  };
  void parse_metadata(class GgufReader& reader, std::uint64_t count);
  void parse_tensors(class GgufReader& reader, std::uint64_t count);
  void place_tensors(std::uint64_t infos_end);
  const Value* find(std::string_view key) const;
  nlohmann::json decode(class GgufReader& reader, GgufValueType type, std::string_view key, std::uint64_t& allowance) const;
  /// value(), or null if the key is missing; Error for an array, before anything is decoded.
  nlohmann::json scalar(std::string_view key) const;
  /// Stands a reader at the first element of an array and says how many follow, of which type.
  std::uint64_t open_array(const Value& value, class GgufReader& reader, GgufValueType& element) const;

  MappedFile file_;
  std::uint32_t version_ = 0;
  std::vector<Value> values_;                                // sorted by key; keys lie in the mapped file
  std::vector<TensorInfo> tensors_;                          // never changed after the constructor: index_ points into it
  std::vector<std::uint64_t> offsets_;                       // of each tensor; from the start of the file once placed
  std::unordered_map<std::string_view, std::size_t> index_;  // name to position in tensors_
};

/// Whether the file begins as every GGUF does.
bool is_gguf(const std::filesystem::path& path);

}  // namespace hedgehog

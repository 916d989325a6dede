// Where a model's tensors come from, whatever the file format: safetensors (one file or sharded) and GGUF implement this.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hedgehog {

struct TensorInfo {
  std::string name;
  std::string dtype;                // the format's own name: "BF16", "Q4_1"
  std::vector<std::int64_t> shape;  // row-major, outermost first, also for GGUF
  std::uint64_t bytes = 0;          // as stored
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// In file order.
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  virtual bool contains(const std::string& name) const = 0;
  /// A copy of the tensor in memory of its own: F32, F16, BF16 and integers as stored, quantized types as F32.
  /// Throws Error that names the tensor and the file when it is missing.
  virtual at::Tensor load(const std::string& name) const = 0;
  /// load(), checked to have `shape`, converted to fp32. Throws Error with name, file, both shapes.
  at::Tensor load_float(const std::string& name, const std::vector<std::int64_t>& shape) const;
  /// What the errors call the source: a path.
  virtual std::string origin() const = 0;
  /// And a tensor: its name in the file, where that is another one.
  virtual std::string described(const std::string& name) const { return name; }
};

}  // namespace hedgehog

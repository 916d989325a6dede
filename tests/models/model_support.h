// What the tests of models share: fixtures, a temporary folder, closeness.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/models/decoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <unistd.h>
#include <filesystem>
#include <string>

namespace hedgehog::testing {

inline std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(HEDGEHOG_SOURCE_DIR) / "tests/fixtures/models" / name;
}

inline Decoder load_fixture(const std::string& name) {
  return Decoder(open_checkpoint(fixture(name)));
}

/// Largest |a − b| over largest |b|.
inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  const double scale = b.abs().max().item<double>();
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>() / (scale > 0 ? scale : 1);
}

inline at::Tensor random_normal(at::IntArrayRef shape, std::uint64_t seed) {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU).clone();
  generator.set_current_seed(seed);
  return at::randn(shape, generator, at::kFloat);
}

inline at::Tensor random_tokens(at::IntArrayRef shape, std::int64_t vocabulary, std::uint64_t seed) {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU).clone();
  generator.set_current_seed(seed);
  return at::randint(vocabulary, shape, generator, at::kLong);
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hedgehog_models_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace hedgehog::testing

// A file mapped read-only into memory. Readers of hostile formats parse from `bytes()` and check every offset against its size.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace hedgehog {

class MappedFile {
 public:
  /// Throws Error if `path` is not a regular file that can be read. An empty file maps to an empty span.
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace hedgehog

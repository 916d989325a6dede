// Steps through a GGUF file's bytes; throws an Error with file and offset where something would reach beyond the end.
#pragma once

#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/gguf.h"

#include <cstring>
#include <span>

namespace hedgehog {

class GgufReader {
 public:
  GgufReader(std::span<const std::byte> bytes, std::string origin, std::uint64_t at = 0)
      : bytes_(bytes), origin_(std::move(origin)), at_(at) {}

  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return bytes_.size() - at_; }

  template <typename T>
  T number(const char* what) {
    need(1, sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  /// The bytes of a string, in the mapped file.
  std::string_view string(const char* what) {
    const auto length = number<std::uint64_t>(what);
    need(length, 1, what);
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
    at_ += length;
    return text;
  }

  GgufValueType type(const char* what);
  /// Steps over a value and all that is in it.
  void skip(GgufValueType type, int depth = 1);
  /// Throws unless `count` things of `size` bytes or more are left.
  void need(std::uint64_t count, std::uint64_t size, const char* what) const {
    check(count <= left() / size, "{}: {} at byte {} needs {} × {} bytes, but only {} are left: damaged or cut off", origin_,
          what, at_, count, size, left());
  }

 private:
  std::span<const std::byte> bytes_;
  std::string origin_;
  std::uint64_t at_;
};

/// The bytes of one number; 0 for strings and arrays.
std::size_t gguf_number_size(GgufValueType type);

}  // namespace hedgehog

// The wire format of Protocol Buffers, as far as a flat message needs it: https://protobuf.dev/programming-guides/encoding.
#pragma once

#include "hedgehog/base/error.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace hedgehog {

/// Steps through the fields of one message. Every length is checked before it is used; Error names the byte in the file.
class WireReader {
 public:
  enum class Type : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  /// `offset` is where in the file `message` begins.
  WireReader(std::string_view message, std::size_t offset, const char* file)
      : message_(message), offset_(offset), file_(file) {}

  /// Reads the next field's number and value; false at the end of the message.
  bool next() {
    if (at_ == message_.size()) {
      return false;
    }
    const std::uint64_t key = read_varint();
    field_ = key >> 3;
    type_ = static_cast<Type>(key & 7);
    check(field_ > 0 && field_ < (1 << 29), "{}: byte {}: a field of number {}", file_, offset_ + at_, field_);
    if (type_ == Type::kVarint) {
      number_ = read_varint();
    } else {
      const bool known = type_ == Type::kBytes || type_ == Type::kFixed32 || type_ == Type::kFixed64;
      check(known, "{}: byte {}: field {} is of unknown type {}", file_, offset_ + at_, field_, key & 7);
      const std::uint64_t size = type_ == Type::kBytes ? read_varint() : type_ == Type::kFixed32 ? 4 : 8;
      check(size <= message_.size() - at_, "{}: byte {}: field {} should have {} bytes, {} are left", file_, offset_ + at_,
            field_, size, message_.size() - at_);
      bytes_ = message_.substr(at_, size);
      at_ += size;
    }
    return true;
  }

  std::uint64_t field() const { return field_; }
  // The value; Error if the field is of another type.
  std::uint64_t number() const {
    expect(Type::kVarint);
    return number_;
  }
  bool flag() const { return number() != 0; }
  float real() const {
    expect(Type::kFixed32);
    std::uint32_t bits = 0;
    for (int i = 3; i >= 0; --i) {
      bits = bits << 8 | static_cast<unsigned char>(bytes_[i]);
    }
    return std::bit_cast<float>(bits);
  }
  std::string_view bytes() const {
    expect(Type::kBytes);
    return bytes_;
  }
  /// The value as a message of its own.
  WireReader message() const { return {bytes(), offset_ + at_ - bytes_.size(), file_}; }
  /// Where the file is read, for errors.
  std::size_t position() const { return offset_ + at_; }

 private:
  std::uint64_t read_varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      check(at_ < message_.size(), "{}: byte {}: ends inside a number", file_, offset_ + at_);
      const auto byte = static_cast<unsigned char>(message_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) {
        return value;
      }
    }
    fail("{}: byte {}: a number of more than 64 bits", file_, offset_ + at_);
  }
  void expect(Type type) const {
    check(type_ == type, "{}: byte {}: field {} is of type {}, expected {}", file_, offset_ + at_, field_,
          static_cast<int>(type_), static_cast<int>(type));
  }

  std::string_view message_, bytes_;
  std::size_t offset_, at_ = 0;
  const char* file_;
  std::uint64_t field_ = 0, number_ = 0;
  Type type_ = Type::kVarint;
};

/// Writes the fields of one message.
class WireWriter {
 public:
  void number(std::uint32_t field, std::uint64_t value) {
    varint(std::uint64_t{field} << 3);
    varint(value);
  }
  void real(std::uint32_t field, float value) {
    varint(std::uint64_t{field} << 3 | 5);
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int i = 0; i < 4; ++i) {
      message_ += static_cast<char>((bits >> (8 * i)) & 0xFF);
    }
  }
  void bytes(std::uint32_t field, std::string_view value) {
    varint(std::uint64_t{field} << 3 | 2);
    varint(value.size());
    message_ += value;
  }
  const std::string& message() const { return message_; }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
      message_ += static_cast<char>((value & 0x7F) | 0x80);
    }
    message_ += static_cast<char>(value);
  }

  std::string message_;
};

}  // namespace hedgehog

#include "hedgehog/checkpoint/gguf_reader.h"

namespace hedgehog {
namespace {

constexpr int kDeepestArray = 16;

}  // namespace

std::size_t gguf_number_size(GgufValueType type) {
  switch (type) {
    case GgufValueType::kUint8:
    case GgufValueType::kInt8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kUint16:
    case GgufValueType::kInt16:
      return 2;
    case GgufValueType::kUint32:
    case GgufValueType::kInt32:
    case GgufValueType::kFloat32:
      return 4;
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
    case GgufValueType::kFloat64:
      return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray:
      break;
  }
  return 0;
}

GgufValueType GgufReader::type(const char* what) {
  const auto id = number<std::uint32_t>(what);
  check(id <= static_cast<std::uint32_t>(GgufValueType::kFloat64), "{}: {} before byte {} is {}, expected 0 to 12", origin_,
        what, at_, id);
  return static_cast<GgufValueType>(id);
}

void GgufReader::skip(GgufValueType type, int depth) {
  if (type == GgufValueType::kString) {
    string("a string");
    return;
  }
  if (type != GgufValueType::kArray) {
    need(1, gguf_number_size(type), "a value");
    at_ += gguf_number_size(type);
    return;
  }
  check(depth <= kDeepestArray, "{}: arrays nest deeper than {} levels at byte {}", origin_, kDeepestArray, at_);
  const GgufValueType element = this->type("an array's type");
  const auto count = number<std::uint64_t>("an array's length");
  if (const std::size_t size = gguf_number_size(element); size > 0) {
    need(count, size, "an array");
    at_ += count * size;
    return;
  }
  need(count, element == GgufValueType::kString ? 8 : 12, "an array");
  for (std::uint64_t i = 0; i < count; ++i) {
    skip(element, depth + 1);
  }
}

}  // namespace hedgehog

#include "hedgehog/checkpoint/gguf.h"

#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/gguf_quantization.h"
#include "hedgehog/checkpoint/gguf_reader.h"
#include "hedgehog/checkpoint/json_cursor.h"
#include "hedgehog/checkpoint/tensor_allocation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>

namespace hedgehog {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint32_t kMostDimensions = 4;
constexpr std::int64_t kBlocksPerTask = 512;

// How many array elements become values in memory at most: each takes 32 bytes where the file needs as few as 8.
std::uint64_t most_elements(std::uint64_t file_bytes) {
  return 16384 + file_bytes / 32;
}

void check_utf8(std::string_view text, const std::string& origin, std::string_view what) {
  check(find_broken_utf8(text) == std::string_view::npos, "{}: {} is not UTF-8", origin, what);
}

}  // namespace

bool is_gguf(const std::filesystem::path& path) {
  const MappedFile file(path);
  std::uint32_t magic = 0;
  if (file.bytes().size() >= sizeof(magic)) {
    std::memcpy(&magic, file.bytes().data(), sizeof(magic));
  }
  return magic == kMagic;
}

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) {
  GgufReader reader(file_.bytes(), origin());
  check(reader.number<std::uint32_t>("the magic number") == kMagic, "{}: is not a GGUF file", origin());
  version_ = reader.number<std::uint32_t>("the version");
  check((version_ & 0xFFFF) != 0, "{}: is big-endian; only little-endian GGUF files are read", origin());
  check(version_ == 2 || version_ == 3, "{}: is of GGUF version {}; versions 2 and 3 are read", origin(), version_);
  const auto tensor_count = reader.number<std::uint64_t>("the number of tensors");
  const auto value_count = reader.number<std::uint64_t>("the number of metadata keys");
  // 13: an empty key's length, a type and one byte of value. 24: an empty name's length, no dimensions, a type, an offset.
  reader.need(value_count, 13, "the metadata");
  reader.need(tensor_count, 24, "the list of tensors");
  const std::uint64_t most = most_entries(file_.bytes().size());
  check(tensor_count <= most && value_count <= most,
        "{}: claims {} tensors and {} metadata keys, more than a file of {} bytes is trusted to hold", origin(), tensor_count,
        value_count, file_.bytes().size());
  parse_metadata(reader, value_count);
  parse_tensors(reader, tensor_count);
  place_tensors(reader.at());
}

void GgufFile::parse_metadata(GgufReader& reader, std::uint64_t count) {
  values_.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    Value value{};
    value.key = reader.string("a metadata key");
    check(value.key.size() <= kLongestTensorName && find_broken_utf8(value.key) == std::string_view::npos,
          "{}: metadata key {} is not UTF-8 or longer than {} bytes", origin(), i, kLongestTensorName);
    value.type = reader.type("a metadata key's type");
    value.offset = reader.at();
    reader.skip(value.type);
    values_.push_back(value);
  }
  std::sort(values_.begin(), values_.end(), [](const Value& a, const Value& b) { return a.key < b.key; });
  for (std::size_t i = 1; i < values_.size(); ++i) {
    check(values_[i - 1].key != values_[i].key, "{}: has the metadata key {} twice", origin(), values_[i].key);
  }
}

void GgufFile::parse_tensors(GgufReader& reader, std::uint64_t count) {
  tensors_.reserve(count);
  offsets_.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    TensorInfo& info = tensors_.emplace_back();
    const std::string_view name = reader.string("a tensor's name");
    check(name.size() <= kLongestTensorName, "{}: the name of tensor {} is {} bytes long, more than the {} that are read",
          origin(), i, name.size(), kLongestTensorName);
    info.name = name;
    check(find_broken_utf8(info.name) == std::string_view::npos, "{}: the name of tensor {} is not UTF-8", origin(), i);
    const auto dimensions = reader.number<std::uint32_t>("a tensor's number of dimensions");
    check(dimensions <= kMostDimensions, "{}: tensor {} has {} dimensions, expected at most {}", origin(), info.name,
          dimensions, kMostDimensions);
    std::vector<std::uint64_t> shape(dimensions);  // innermost first in the file
    for (auto size = shape.rbegin(); size != shape.rend(); ++size) {
      *size = reader.number<std::uint64_t>("a tensor's shape");
    }
    const auto type_id = reader.number<std::uint32_t>("a tensor's type");
    const GgufTensorType* type = find_gguf_tensor_type(type_id);
    check(
        type != nullptr,
        "{}: tensor {} is of type {}, which is not read; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are",
        origin(), info.name, gguf_tensor_type_name(type_id));
    info.dtype = type->name;
    const auto elements = checked_element_count(shape);
    check(elements && (shape.empty() ? 1 : shape.back()) % type->block == 0 &&
              !__builtin_mul_overflow(static_cast<std::uint64_t>(*elements) / type->block, std::uint64_t{type->block_bytes},
                                      &info.bytes),
          "{}: tensor {} of type {} has the shape [{}], which is too large or not whole blocks of {}", origin(), info.name,
          type->name, fmt::join(shape, ", "), type->block);
    info.shape.assign(shape.begin(), shape.end());
    offsets_.push_back(reader.number<std::uint64_t>("a tensor's offset"));
  }
  index_.reserve(count);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    check(index_.try_emplace(tensors_[i].name, i).second, "{}: has two tensors named {}", origin(), tensors_[i].name);
  }
}

void GgufFile::place_tensors(std::uint64_t infos_end) {
  const auto alignment = static_cast<std::uint64_t>(integer("general.alignment").value_or(32));
  check(alignment >= 1 && alignment <= (1U << 30) && (alignment & (alignment - 1)) == 0,
        "{}: general.alignment is {}, expected a power of two", origin(), alignment);
  const std::uint64_t size = file_.bytes().size();
  const std::uint64_t start = std::min((infos_end + alignment - 1) / alignment * alignment, size);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const std::uint64_t offset = offsets_[i];
    check(offset % alignment == 0, "{}: tensor {} begins at byte {} of the data, not a multiple of {}", origin(),
          tensors_[i].name, offset, alignment);
    check(offset <= size - start && tensors_[i].bytes <= size - start - offset,
          "{}: tensor {} needs bytes {} to {} + {} of the data, but there are {}: damaged or cut off", origin(),
          tensors_[i].name, offset, offset, tensors_[i].bytes, size - start);
    offsets_[i] = start + offset;
  }
  std::vector<std::uint32_t> order(tensors_.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return std::pair(offsets_[a], tensors_[a].bytes) < std::pair(offsets_[b], tensors_[b].bytes);
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    check(offsets_[order[i - 1]] + tensors_[order[i - 1]].bytes <= offsets_[order[i]], "{}: tensors {} and {} overlap",
          origin(), tensors_[order[i - 1]].name, tensors_[order[i]].name);
  }
}

at::Tensor GgufFile::load(const std::string& name) const {
  const auto found = index_.find(name);
  check(found != index_.end(), "{}: has no tensor {}", origin(), name);
  const TensorInfo& info = tensors_[found->second];
  const GgufTensorType* type = nullptr;
  for (std::uint32_t id = 0; type == nullptr || type->name != info.dtype; ++id) {
    type = find_gguf_tensor_type(id);
  }
  at::Tensor tensor = allocate_tensor(info.shape, type->loaded, name, origin());
  const std::byte* source = file_.bytes().data() + offsets_[found->second];
  if (type->dequantize == nullptr) {
    if (info.bytes > 0) {
      std::memcpy(tensor.data_ptr(), source, info.bytes);
    }
    return tensor;
  }
  float* target = tensor.data_ptr<float>();
  const auto blocks = static_cast<std::int64_t>(info.bytes / type->block_bytes);
  at::parallel_for(0, blocks, kBlocksPerTask, [&](std::int64_t begin, std::int64_t end) {
    type->dequantize(source + begin * type->block_bytes, end - begin, target + begin * type->block);
  });
  return tensor;
}

std::vector<std::string_view> GgufFile::keys() const {
  std::vector<std::string_view> keys;
  for (const Value& value : values_) {
    keys.push_back(value.key);
  }
  return keys;
}

const GgufFile::Value* GgufFile::find(std::string_view key) const {
  const auto place = std::lower_bound(values_.begin(), values_.end(), key,
                                      [](const Value& value, std::string_view wanted) { return value.key < wanted; });
  return place != values_.end() && place->key == key ? &*place : nullptr;
}

nlohmann::json GgufFile::value(std::string_view key) const {
  const Value* found = find(key);
  check(found != nullptr, "{}: has no metadata key {}", origin(), key);
  GgufReader reader(file_.bytes(), origin(), found->offset);
  std::uint64_t allowance = most_elements(file_.bytes().size());
  return decode(reader, found->type, key, allowance);
}

nlohmann::json GgufFile::decode(GgufReader& reader, GgufValueType type, std::string_view key, std::uint64_t& allowance) const {
  switch (type) {
    case GgufValueType::kUint8:
      return reader.number<std::uint8_t>("a value");
    case GgufValueType::kInt8:
      return reader.number<std::int8_t>("a value");
    case GgufValueType::kUint16:
      return reader.number<std::uint16_t>("a value");
    case GgufValueType::kInt16:
      return reader.number<std::int16_t>("a value");
    case GgufValueType::kUint32:
      return reader.number<std::uint32_t>("a value");
    case GgufValueType::kInt32:
      return reader.number<std::int32_t>("a value");
    case GgufValueType::kFloat32:
      return std::stod(fmt::format("{}", reader.number<float>("a value")));
    case GgufValueType::kBool:
      return reader.number<std::uint8_t>("a value") != 0;
    case GgufValueType::kUint64:
      return reader.number<std::uint64_t>("a value");
    case GgufValueType::kInt64:
      return reader.number<std::int64_t>("a value");
    case GgufValueType::kFloat64:
      return reader.number<double>("a value");
    case GgufValueType::kString: {
      const std::string_view text = reader.string("a string");
      check_utf8(text, origin(), key);
      return std::string(text);
    }
    case GgufValueType::kArray:
      break;
  }
  const GgufValueType element = reader.type("an array's type");
  const auto count = reader.number<std::uint64_t>("an array's length");
  check(count <= allowance, "{}: {} has {} elements and more, too many for a file of {} bytes to be trusted", origin(), key,
        count, file_.bytes().size());
  allowance -= count;
  nlohmann::json array = nlohmann::json::array();
  for (std::uint64_t i = 0; i < count; ++i) {
    array.push_back(decode(reader, element, key, allowance));
  }
  return array;
}

nlohmann::json GgufFile::scalar(std::string_view key) const {
  const Value* found = find(key);
  check(found == nullptr || found->type != GgufValueType::kArray, "{}: {} is an array, expected one value", origin(), key);
  return found == nullptr ? nlohmann::json() : value(key);
}

std::optional<std::int64_t> GgufFile::integer(std::string_view key) const {
  const nlohmann::json found = scalar(key);
  if (found.is_null()) {
    return std::nullopt;
  }
  check(found.is_number_integer() && (!found.is_number_unsigned() || found.get<std::uint64_t>() <= INT64_MAX),
        "{}: {} is not an integer below 2^63", origin(), key);
  return found.get<std::int64_t>();
}

std::optional<double> GgufFile::real(std::string_view key) const {
  const nlohmann::json found = scalar(key);
  if (found.is_null()) {
    return std::nullopt;
  }
  check(found.is_number(), "{}: {} is a {}, expected a number", origin(), key, found.type_name());
  return found.get<double>();
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const nlohmann::json found = scalar(key);
  if (found.is_null()) {
    return std::nullopt;
  }
  check(found.is_boolean(), "{}: {} is a {}, expected a boolean", origin(), key, found.type_name());
  return found.get<bool>();
}

std::optional<std::string> GgufFile::string(std::string_view key) const {
  const nlohmann::json found = scalar(key);
  if (found.is_null()) {
    return std::nullopt;
  }
  check(found.is_string(), "{}: {} is a {}, expected a string", origin(), key, found.type_name());
  return found.get<std::string>();
}

std::uint64_t GgufFile::open_array(const Value& value, GgufReader& reader, GgufValueType& element) const {
  check(value.type == GgufValueType::kArray, "{}: {} is not an array", origin(), value.key);
  element = reader.type("an array's type");
  const auto count = reader.number<std::uint64_t>("an array's length");
  check(count <= most_elements(file_.bytes().size()), "{}: {} has {} elements, more than a file of {} bytes is trusted to hold",
        origin(), value.key, count, file_.bytes().size());
  return count;
}

std::vector<std::string> GgufFile::strings(std::string_view key) const {
  std::vector<std::string> strings;
  if (const Value* found = find(key)) {
    GgufReader reader(file_.bytes(), origin(), found->offset);
    GgufValueType element{};
    const std::uint64_t count = open_array(*found, reader, element);
    check(element == GgufValueType::kString, "{}: {} is not an array of strings", origin(), key);
    strings.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      strings.emplace_back(reader.string("a string"));
      check_utf8(strings.back(), origin(), key);
    }
  }
  return strings;
}

std::vector<std::int32_t> GgufFile::integers(std::string_view key) const {
  std::vector<std::int32_t> integers;
  if (const Value* found = find(key)) {
    GgufReader reader(file_.bytes(), origin(), found->offset);
    GgufValueType element{};
    const std::uint64_t count = open_array(*found, reader, element);
    check(element == GgufValueType::kInt32 || element == GgufValueType::kUint32, "{}: {} is not an array of 32-bit integers",
          origin(), key);
    integers.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      integers.push_back(reader.number<std::int32_t>("an integer"));
    }
  }
  return integers;
}

std::vector<float> GgufFile::floats(std::string_view key) const {
  std::vector<float> floats;
  if (const Value* found = find(key)) {
    GgufReader reader(file_.bytes(), origin(), found->offset);
    GgufValueType element{};
    const std::uint64_t count = open_array(*found, reader, element);
    check(element == GgufValueType::kFloat32, "{}: {} is not an array of 32-bit floats", origin(), key);
    floats.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      floats.push_back(reader.number<float>("a float"));
    }
  }
  return floats;
}

}  // namespace hedgehog

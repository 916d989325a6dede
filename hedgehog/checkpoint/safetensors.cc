#include "hedgehog/checkpoint/safetensors.h"

#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_cursor.h"
#include "hedgehog/checkpoint/safetensors_dtype.h"
#include "hedgehog/checkpoint/tensor_allocation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

namespace hedgehog {
namespace {

struct HeaderEntry {
  TensorInfo info;
  std::uint64_t begin = 0, end = 0;  // from the start of the buffer that follows the header
};

std::vector<std::uint64_t> parse_integers(JsonCursor& json) {
  std::vector<std::uint64_t> integers;
  json.expect('[');
  if (json.accept(']')) {
    return integers;
  }
  do {
    integers.push_back(json.unsigned_integer());
    // LibTorch itself holds far fewer dimensions gladly; this only keeps a forged shape short.
    check(integers.size() <= 64, "more than 64 dimensions");
  } while (json.accept(','));
  json.expect(']');
  return integers;
}

// {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, in any order; other keys are stepped over.
HeaderEntry parse_entry(JsonCursor& json) {
  HeaderEntry entry;
  std::vector<std::uint64_t> shape;
  bool has_dtype = false, has_shape = false, has_offsets = false;
  const auto once = [](bool& seen, std::string_view key) {
    check(!seen, "has \"{}\" twice", key);
    seen = true;
  };
  json.expect('{');
  if (!json.accept('}')) {
    do {
      const std::string key = json.string();
      json.expect(':');
      if (key == "dtype") {
        once(has_dtype, key);
        entry.info.dtype = json.string();
      } else if (key == "shape") {
        once(has_shape, key);
        shape = parse_integers(json);
      } else if (key == "data_offsets") {
        once(has_offsets, key);
        const auto offsets = parse_integers(json);
        check(offsets.size() == 2, "has {} data_offsets, expected 2", offsets.size());
        entry.begin = offsets[0];
        entry.end = offsets[1];
      } else {
        json.skip_value();
      }
    } while (json.accept(','));
    json.expect('}');
  }
  check(has_dtype && has_shape && has_offsets, "needs \"dtype\", \"shape\" and \"data_offsets\"");

  const SafetensorsDtype* dtype = find_safetensors_dtype(entry.info.dtype);
  check(dtype != nullptr, "has the unknown dtype \"{}\"", entry.info.dtype.substr(0, 32));
  const auto count = checked_element_count(shape);
  std::uint64_t bits = 0;
  check(count && !__builtin_mul_overflow(static_cast<std::uint64_t>(*count), std::uint64_t{dtype->bits}, &bits),
        "has shape [{}], too large for any file", fmt::join(shape, ", "));
  check(bits % 8 == 0, "of shape [{}] and dtype {} does not end at a byte's border", fmt::join(shape, ", "), dtype->name);
  check(entry.begin <= entry.end, "begins at {} and ends before that, at {}", entry.begin, entry.end);
  entry.info.bytes = bits / 8;
  check(entry.end - entry.begin == entry.info.bytes, "of shape [{}] and dtype {} needs {} bytes, its data_offsets give {}",
        fmt::join(shape, ", "), dtype->name, entry.info.bytes, entry.end - entry.begin);
  entry.info.shape.assign(shape.begin(), shape.end());
  return entry;
}

std::map<std::string, std::string> parse_metadata(JsonCursor& json, std::uint64_t most) {
  std::map<std::string, std::string> metadata;
  if (json.accept_null()) {
    return metadata;
  }
  json.expect('{');
  if (json.accept('}')) {
    return metadata;
  }
  do {
    std::string key = json.string();
    json.expect(':');
    std::string value = json.string();
    const auto [place, is_new] = metadata.try_emplace(std::move(key), std::move(value));
    check(is_new, "has the key \"{}\" twice", place->first.substr(0, 64));
    check(metadata.size() <= most, "has more than {} entries", most);
  } while (json.accept(','));
  json.expect('}');
  return metadata;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  parse_header();
  index_.reserve(tensors_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    check(index_.try_emplace(tensors_[i].name, i).second, "{}: has two tensors named {}", origin(), tensors_[i].name);
  }
}

void SafetensorsFile::parse_header() {
  const auto bytes = file_.bytes();
  check(bytes.size() >= 8, "{}: is {} bytes long, too short for a safetensors file", origin(), bytes.size());
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  check(length <= kLongestHeader, "{}: the header claims {} bytes, more than the {} that the format allows", origin(), length,
        kLongestHeader);
  check(length <= bytes.size() - 8, "{}: the header claims {} bytes, but only {} follow: not a safetensors file, or cut off",
        origin(), length, bytes.size() - 8);
  const std::uint64_t buffer = bytes.size() - 8 - length;
  const std::uint64_t most = most_entries(bytes.size());

  JsonCursor json({reinterpret_cast<const char*>(bytes.data()) + 8, length}, origin(), 8);
  std::vector<HeaderEntry> entries;
  bool has_metadata = false;
  json.expect('{');
  if (!json.accept('}')) {
    do {
      std::string name = json.string();
      json.expect(':');
      check(name.size() <= kLongestTensorName, "{}: a tensor's name is {} bytes long, more than the {} that are read", origin(),
            name.size(), kLongestTensorName);
      // The helpers know neither file nor tensor: both are named here.
      const bool is_metadata = name == "__metadata__";
      try {
        if (is_metadata) {
          check(!has_metadata, "stands there twice");
          has_metadata = true;
          metadata_ = parse_metadata(json, most);
        } else {
          check(entries.size() < most, "is the {}th: more than a file of {} bytes is trusted to hold", entries.size() + 1,
                bytes.size());
          entries.push_back(parse_entry(json));
          entries.back().info.name = std::move(name);
        }
      } catch (const Error& error) {
        const std::string_view what = error.what();
        if (what.starts_with(origin())) {
          throw;
        }
        fail("{}: {} {} {}", origin(), is_metadata ? "the entry" : "tensor", is_metadata ? "__metadata__" : name, what);
      }
    } while (json.accept(','));
    json.expect('}');
  }
  json.expect_end();

  std::stable_sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t covered = 0;
  tensors_.reserve(entries.size());
  offsets_.reserve(entries.size());
  for (HeaderEntry& entry : entries) {
    check(entry.begin == covered, "{}: tensor {} begins at byte {} of the buffer, expected {}: a hole or an overlap", origin(),
          entry.info.name, entry.begin, covered);
    check(entry.end <= buffer, "{}: tensor {} ends at byte {} of a buffer of {}: the file is cut off", origin(),
          entry.info.name, entry.end, buffer);
    covered = entry.end;
    offsets_.push_back(8 + length + entry.begin);
    tensors_.push_back(std::move(entry.info));
  }
  check(covered == buffer, "{}: the tensors cover {} bytes of the buffer's {}", origin(), covered, buffer);
}

std::size_t SafetensorsFile::place(const std::string& name) const {
  const auto found = index_.find(name);
  check(found != index_.end(), "{}: has no tensor {}", origin(), name);
  return found->second;
}

std::span<const std::byte> SafetensorsFile::bytes(const std::string& name) const {
  const std::size_t at = place(name);
  return file_.bytes().subspan(offsets_[at], tensors_[at].bytes);
}

at::Tensor SafetensorsFile::load(const std::string& name) const {
  const TensorInfo& info = tensors_[place(name)];
  const SafetensorsDtype& dtype = *find_safetensors_dtype(info.dtype);
  check(dtype.scalar_type.has_value(), "{}: tensor {} has dtype {}, which cannot be loaded", origin(), name, info.dtype);
  // A byte that is neither 0 nor 1 is no bool in C++: those are read as numbers.
  const bool is_bool = dtype.scalar_type == at::kBool;
  at::Tensor tensor = allocate_tensor(info.shape, is_bool ? at::kByte : *dtype.scalar_type, name, origin());
  if (info.bytes > 0) {
    std::memcpy(tensor.data_ptr(), bytes(name).data(), info.bytes);
  }
  return is_bool ? tensor.ne(0) : tensor;
}

}  // namespace hedgehog

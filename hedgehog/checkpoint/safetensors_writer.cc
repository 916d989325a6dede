// The writing half of safetensors.h. Byte for byte what the reference library writes: tensors by falling alignment of their
// dtype, then by name; the header padded with blanks to a multiple of 8.
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/checkpoint/safetensors_dtype.h"

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

namespace hedgehog {
namespace {

struct Writable {
  const std::string* name;
  const at::Tensor* tensor;
  const SafetensorsDtype* dtype;
};

std::string quoted(const std::string& text, const std::filesystem::path& path) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail("{}: a name or metadata is not UTF-8 and cannot be written", path.string());
  }
}

std::vector<Writable> in_file_order(const std::filesystem::path& path, const NamedTensors& tensors) {
  std::vector<Writable> order;
  std::set<std::string_view> names;
  for (const auto& [name, tensor] : tensors) {
    check(name != "__metadata__", "{}: a tensor may not be named __metadata__", path.string());
    check(names.insert(name).second, "{}: two tensors are named {}", path.string(), name);
    check(tensor.defined(), "{}: tensor {} is not defined", path.string(), name);
    const SafetensorsDtype* dtype = find_safetensors_dtype(tensor.scalar_type());
    check(dtype != nullptr, "{}: tensor {} has dtype {}, which the format lacks", path.string(), name,
          c10::toString(tensor.scalar_type()));
    order.push_back({&name, &tensor, dtype});
  }
  std::sort(order.begin(), order.end(), [](const Writable& a, const Writable& b) {
    return a.dtype->rank != b.dtype->rank ? a.dtype->rank > b.dtype->rank : *a.name < *b.name;
  });
  return order;
}

std::string make_header(const std::filesystem::path& path, const std::vector<Writable>& order,
                        const std::map<std::string, std::string>& metadata) {
  std::string header = "{";
  const auto separate = [&] { header += header.size() > 1 ? "," : ""; };
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      header += (header.back() == '{' ? "" : ",") + quoted(key, path) + ":" + quoted(value, path);
    }
    header += "}";
  }
  std::uint64_t offset = 0;
  for (const Writable& item : order) {
    separate();
    const std::uint64_t end = offset + item.tensor->nbytes();
    header += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", quoted(*item.name, path),
                          item.dtype->name, fmt::join(item.tensor->sizes(), ","), offset, end);
    offset = end;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  check(header.size() <= kLongestHeader, "{}: the header would be {} bytes long, more than the {} that the format allows",
        path.string(), header.size(), kLongestHeader);
  return header;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::vector<Writable> order = in_file_order(path, tensors);
  const std::string header = make_header(path, order, metadata);
  AtomicFile file(path);
  std::array<std::byte, 8> length{};
  const std::uint64_t header_size = header.size();
  std::memcpy(length.data(), &header_size, 8);
  file.write(length);
  file.write(header);
  for (const Writable& item : order) {
    const at::Tensor plain = item.tensor->detach().to(at::kCPU).contiguous();
    file.write(std::span(static_cast<const std::byte*>(plain.data_ptr()), plain.nbytes()));
  }
  file.commit();
}

}  // namespace hedgehog

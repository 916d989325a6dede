#include "hedgehog/data/cifar10.h"

#include "hedgehog/base/error.h"
#include "hedgehog/data/text_file.h"

#include <algorithm>
#include <string>

namespace hedgehog {

GrayImages read_cifar10(const std::filesystem::path& path, std::int64_t side) {
  check(side > 0 && side <= 4096, "images of side {}: expected 1 to 4096", side);
  GrayImages images{.side = side, .pixels = {}, .labels = {}};
  const auto record = static_cast<std::size_t>(1 + side * side);
  TextFile file(path);
  std::string bytes;
  for (bool more = true; more;) {
    more = file.read_more(bytes);
    std::size_t start = 0;
    for (; start + record <= bytes.size(); start += record) {
      const auto label = static_cast<std::uint8_t>(bytes[start]);
      check(label < kCifar10Classes,
            "{}: record {} (byte {}) has the label {}, expected 0 to {}: are these gray images of {} x {} pixels?",
            path.string(), images.count(), images.labels.size() * record, label, kCifar10Classes - 1, side, side);
      images.labels.push_back(label);
      const auto pixels = bytes.begin() + static_cast<std::ptrdiff_t>(start) + 1;
      std::transform(pixels, pixels + static_cast<std::ptrdiff_t>(record - 1), std::back_inserter(images.pixels),
                     [](char pixel) { return static_cast<std::uint8_t>(pixel); });
    }
    bytes.erase(0, start);
  }
  check(bytes.empty(),
        "{}: ends {} bytes into record {}; a record is 1 label byte and {} pixels: the file is truncated, or its images are of "
        "another size or in colour",
        path.string(), bytes.size(), images.count(), record - 1);
  check(images.count() > 0, "{}: holds no images", path.string());
  return images;
}

}  // namespace hedgehog

// CIFAR-10 (Krizhevsky 2009) in gray: the task Image of Long Range Arena, and small images for ViT.
#pragma once

#include "hedgehog/data/gray_images.h"

#include <filesystem>

namespace hedgehog {

inline constexpr std::int64_t kCifar10Classes = 10;

/// Reads records of one label byte (0 to 9) and side² pixel bytes, row after row, *.zst unpacked on the way. Throws Error with
/// file, record and byte for a label above 9 and a file that ends inside a record (also what images of another size, or in
/// colour, look like), and for an empty file.
GrayImages read_cifar10(const std::filesystem::path& path, std::int64_t side = 32);

}  // namespace hedgehog

#include "hedgehog/data/cifar10.h"

#include "tests/support/compressed.h"
#include "tests/support/data_file.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>

namespace hedgehog {
namespace {

using testing::compressed;
using testing::data_file;
using testing::error_of;
using testing::TemporaryDirectory;

/// `count` records: labels 0, 1, …, pixels that count on through all of them.
std::string records(int count, int side) {
  std::string bytes;
  int pixel = 0;
  for (int i = 0; i < count; ++i) {
    bytes += static_cast<char>(i % 10);
    for (int j = 0; j < side * side; ++j) bytes += static_cast<char>(pixel++ % 251);
  }
  return bytes;
}

TEST(Cifar10, RecordsBecomeRowsOfIdsAndImages) {
  const TemporaryDirectory folder;
  for (const auto& file : {folder.write("a.bin", records(200, 32)), folder.write("a.bin.zst", compressed(records(200, 32)))}) {
    const GrayImages images = read_cifar10(file);
    ASSERT_EQ(images.count(), 200);
    const std::vector<std::int64_t> indices = {199, 3};
    const at::Tensor ids = pixel_ids(images, indices), values = pixel_images(images, indices);
    ASSERT_EQ(ids.sizes(), (std::vector<std::int64_t>{2, 1024}));
    ASSERT_EQ(values.sizes(), (std::vector<std::int64_t>{2, 1, 32, 32}));
    EXPECT_EQ(ids[0][1023].item<std::int64_t>(), (200 * 1024 - 1) % 251);
    EXPECT_EQ(ids[1][40].item<std::int64_t>(), (3 * 1024 + 40) % 251);
    EXPECT_TRUE(at::equal(ids.to(at::kFloat) * (1.0F / 255.0F), values.flatten(1)));
    EXPECT_TRUE(at::equal(image_labels(images, indices), at::tensor(std::vector<std::int64_t>{9, 3})));
    EXPECT_THROW(pixel_ids(images, std::vector<std::int64_t>{200}), Error);
    EXPECT_THROW(image_labels(images, std::vector<std::int64_t>{-1}), Error);
  }
}

TEST(Cifar10, ErrorsSayWhere) {
  const TemporaryDirectory folder;
  const auto error = [&](const std::string& bytes) { return error_of([&] { read_cifar10(folder.write("a.bin", bytes)); }); };
  std::string wrong = records(80, 32);
  wrong[70 * 1025] = 10;
  EXPECT_NE(error(wrong).find("a.bin: record 70 (byte 71750) has the label 10"), std::string::npos);
  EXPECT_NE(error(records(80, 32).substr(0, 79 * 1025 + 5)).find("a.bin: ends 5 bytes into record 79"), std::string::npos);
  EXPECT_NE(error("").find("a.bin: holds no images"), std::string::npos);
  EXPECT_FALSE(error(records(7, 28)).empty());  // images of another size
}

TEST(Cifar10, TheRealFilesAreBalanced) {
  const auto folder = data_file("cifar10");
  HEDGEHOG_SKIP_WITHOUT(folder);
  for (const auto& [name, each] : {std::pair("train_gray.bin.zst", 5'000), std::pair("test_gray.bin.zst", 1'000)}) {
    const GrayImages images = read_cifar10(folder / name);
    std::array<int, 10> counts{};
    for (const std::uint8_t label : images.labels) ++counts[label];
    for (const int count : counts) EXPECT_EQ(count, each);
  }
}

}  // namespace
}  // namespace hedgehog

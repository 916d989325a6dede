#include "hedgehog/data/packed_images.h"

#include "hedgehog/base/error.h"
#include "hedgehog/data/tasks.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace hedgehog {
namespace {

using Metadata = std::map<std::string, std::string>;

const Metadata kMetadata = {{"classes", "3"}, {"mean", "0.5 0.25 0"}, {"deviation", "0.5 0.25 1"}};

class PackedImagesFile : public ::testing::Test {
 protected:
  std::filesystem::path write(const at::Tensor& images, const at::Tensor& labels, const Metadata& metadata = kMetadata,
                              const char* name = "train.safetensors") {
    write_safetensors(folder_.path() / name, {{"images", images}, {"labels", labels}}, metadata);
    return folder_.path() / name;
  }
  void refused(const std::filesystem::path& path, const std::string& because) {
    const std::string what = testing::error_of([&] { const PackedImages images(path, 0); });
    EXPECT_NE(what.find(because), std::string::npos) << what;
    EXPECT_NE(what.find(path.string()), std::string::npos) << what;
  }
  static at::Tensor pictures(std::int64_t count) {
    at::manual_seed(1);
    return at::randint(0, 256, {count, 3, 4, 4}).to(at::kByte);
  }

  testing::TemporaryDirectory folder_;
};

TEST_F(PackedImagesFile, GivesNormalisedBatchesInOrder) {
  const auto pixels = pictures(5), labels = at::tensor({0, 2, 1, 1, 0}, at::kLong);
  const PackedImages images(write(pixels, labels), 0);
  EXPECT_EQ(images.size(), 5);
  EXPECT_EQ(images.classes(), 3);
  EXPECT_EQ(images.side(), 4);
  EXPECT_EQ(images.labels(), (std::vector<double>{0, 2, 1, 1, 0}));
  const auto batch = images.batch(std::vector<std::int64_t>{3, 1});
  EXPECT_TRUE(at::equal(batch.labels, at::tensor({1, 2}, at::kLong)));
  const std::vector<double> mean{0.5, 0.25, 0}, deviation{0.5, 0.25, 1};
  for (std::int64_t channel = 0; channel < 3; ++channel) {
    const auto at_channel = static_cast<std::size_t>(channel);
    const auto wanted = (pixels[3][channel].to(at::kDouble) / 255 - mean[at_channel]) / deviation[at_channel];
    EXPECT_LE((batch.input.images[0][channel] - wanted).abs().max().item<double>(), 1e-6) << channel;
  }
  const PackedImages some(folder_.path() / "train.safetensors", 2);
  EXPECT_EQ(some.size(), 2);
  EXPECT_NE(some.sha256(), images.sha256());
  EXPECT_THROW(some.batch(std::vector<std::int64_t>{2}), Error);
}

TEST_F(PackedImagesFile, OthersSayWhatIsWrong) {
  const auto labels = at::zeros({2}, at::kLong);
  refused(write(pictures(2), at::zeros({3}, at::kLong)), "2 images and 3 labels");
  refused(write(pictures(2).to(at::kFloat), labels), "should be U8");
  refused(write(pictures(2).narrow(3, 0, 2).contiguous(), labels), "square");
  refused(write(pictures(2), at::tensor({0, 3}, at::kLong)), "image 1 should be below 3, found 3");
  for (const char* key : {"classes", "mean", "deviation"}) {
    auto metadata = kMetadata;
    metadata.erase(key);
    refused(write(pictures(2), labels, metadata), key);
    for (const char* value : {"", "x", "1 2", "nan", "1 1 1 1", "-1 -1 -1"}) {
      if (std::string(key) == "mean" && *value == '-') continue;  // a mean may be
      metadata[key] = value;
      refused(write(pictures(2), labels, metadata), key);
    }
  }
}

TEST_F(PackedImagesFile, AreATask) {
  const auto open = [&] { return open_task({.name = "images", .data = folder_.path()}, nullptr); };
  EXPECT_THROW(open(), Error) << "nothing there";
  const auto labels = at::tensor({0, 2}, at::kLong);
  write(pictures(2), labels);
  write(pictures(2), labels, kMetadata, "validation.safetensors");
  const Task task = open();
  EXPECT_EQ(task.labels, 3);
  EXPECT_EQ(task.channels, 3);
  EXPECT_EQ(task.length, 4);
  EXPECT_TRUE(task.images);
  auto other = kMetadata;
  other["classes"] = "4";
  write(pictures(2), labels, other, "validation.safetensors");
  EXPECT_THROW(open(), Error) << "another number of classes";
}

}  // namespace
}  // namespace hedgehog

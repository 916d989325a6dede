// The GGUF reader against files and dequantized values that the Python package `gguf` made, and against damaged files.
#include "hedgehog/checkpoint/gguf.h"

#include "hedgehog/checkpoint/safetensors.h"
#include "tests/checkpoint/fixtures.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>

namespace hedgehog {
namespace {

using hedgehog::testing::error_of;
using hedgehog::testing::kFixtures;
using hedgehog::testing::TemporaryDirectory;

TEST(Gguf, DequantizesBitForBit) {
  const GgufFile file(kFixtures / "quantized.gguf");
  const SafetensorsFile expected(kFixtures / "quantized_expected.safetensors");
  EXPECT_EQ(file.version(), 3U);
  ASSERT_EQ(file.tensors().size(), 11U);
  for (const TensorInfo& info : file.tensors()) {
    EXPECT_EQ(info.dtype, info.name);  // the fixture names each tensor after its type
    EXPECT_EQ(info.shape, (std::vector<std::int64_t>{2, 256}));
    const at::Tensor loaded = file.load(info.name);
    const bool is_half = info.name == "F16" || info.name == "BF16";
    EXPECT_EQ(loaded.scalar_type(), info.name == "F16" ? at::kHalf : is_half ? at::kBFloat16 : at::kFloat);
    const at::Tensor found = loaded.to(at::kFloat), wanted = expected.load(info.name);
    EXPECT_EQ(std::memcmp(found.data_ptr(), wanted.data_ptr(), wanted.nbytes()), 0)
        << info.name << ": largest difference " << (found - wanted).abs().max().item<float>();
  }
}

TEST(Gguf, ReadsEveryTypeOfValue) {
  const GgufFile file(kFixtures / "quantized.gguf");
  EXPECT_EQ(file.value("value.uint8"), 200);
  EXPECT_EQ(file.value("value.int8"), -100);
  EXPECT_EQ(file.value("value.uint16"), 60000);
  EXPECT_EQ(file.value("value.int16"), -30000);
  EXPECT_EQ(file.value("value.uint32"), 4000000000);
  EXPECT_EQ(file.value("value.int32"), -2000000000);
  EXPECT_EQ(file.value("value.float32"), 1e-5);
  EXPECT_EQ(file.value("value.bool"), true);
  EXPECT_EQ(file.value("value.string"), "naïve 🦔");
  EXPECT_EQ(file.value("value.uint64"), 18446744073709551615U);
  EXPECT_EQ(file.value("value.int64"), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(file.value("value.float64"), 0.1);
  EXPECT_EQ(file.value("array.int32"), (nlohmann::json{1, -2, 3}));
  EXPECT_EQ(file.value("array.string"), (nlohmann::json{"a", "", "ß"}));
  EXPECT_EQ(file.value("array.nested"), nlohmann::json::parse("[[1,2],[3],[4,5,6]]"));
  EXPECT_EQ(file.value("array.bool"), (nlohmann::json{true, false}));

  EXPECT_EQ(file.integer("value.int8"), -100);
  EXPECT_EQ(file.real("value.uint8"), 200.0);
  EXPECT_EQ(file.boolean("value.bool"), true);
  EXPECT_EQ(file.string("value.string"), "naïve 🦔");
  EXPECT_EQ(file.strings("array.string"), (std::vector<std::string>{"a", "", "ß"}));
  EXPECT_EQ(file.integers("array.int32"), (std::vector<std::int32_t>{1, -2, 3}));
  EXPECT_EQ(file.integer("absent"), std::nullopt);
  EXPECT_TRUE(file.strings("absent").empty());
  for (const auto& call : std::vector<std::function<void()>>{
           [&] { (void)file.integer("value.float32"); }, [&] { (void)file.integer("value.uint64"); },
           [&] { (void)file.integer("value.bool"); }, [&] { (void)file.real("value.string"); },
           [&] { (void)file.boolean("value.uint8"); }, [&] { (void)file.string("array.string"); },
           [&] { (void)file.strings("array.int32"); }, [&] { (void)file.strings("value.string"); },
           [&] { (void)file.integers("array.string"); }, [&] { (void)file.value("absent"); }}) {
    EXPECT_NE(error_of(call).find("quantized.gguf"), std::string::npos);
  }
}

// A GGUF file under construction, field by field.
class Builder {
 public:
  template <typename T>
  Builder& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Builder& string(std::string_view text) {
    number<std::uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  Builder& header(std::uint64_t tensors, std::uint64_t values, std::uint32_t version = 3) {
    bytes_ += "GGUF";
    return number(version).number(tensors).number(values);
  }
  Builder& tensor(std::string_view name, const std::vector<std::uint64_t>& innermost_first, std::uint32_t type,
                  std::uint64_t offset) {
    string(name).number<std::uint32_t>(static_cast<std::uint32_t>(innermost_first.size()));
    for (const std::uint64_t size : innermost_first) {
      number(size);
    }
    return number(type).number(offset);
  }
  Builder& array(std::string_view key, std::uint32_t element, std::uint64_t count) {
    return string(key).number<std::uint32_t>(9).number(element).number(count);
  }
  Builder& zeros(std::size_t count) {
    bytes_.append(count, '\0');
    return *this;
  }
  Builder& pad(std::size_t alignment = 32) { return zeros((alignment - bytes_.size() % alignment) % alignment); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

TEST(Gguf, ReadsVersion2AndOddShapes) {
  const TemporaryDirectory directory;
  Builder builder;
  builder.header(4, 1, 2).string("general.alignment").number<std::uint32_t>(4).number<std::uint32_t>(8);
  builder.tensor("scalar", {}, 0, 0).tensor("empty", {4, 0}, 0, 8).tensor("ints", {3, 1, 2}, 26, 8).tensor("last", {1}, 24, 32);
  builder.pad(8).number(2.5F).zeros(4);
  for (std::int32_t i = 0; i < 6; ++i) {
    builder.number(i);
  }
  const GgufFile file(directory.write("a.gguf", builder.number<std::int8_t>(-7).bytes()));
  EXPECT_EQ(file.load("scalar").item<float>(), 2.5F);
  EXPECT_EQ(file.load("scalar").dim(), 0);
  EXPECT_EQ(file.load("empty").sizes(), (std::vector<std::int64_t>{0, 4}));
  EXPECT_TRUE(file.load("ints").equal(at::arange(6, at::kInt).reshape({2, 1, 3})));
  EXPECT_EQ(file.load("last").item<std::int8_t>(), -7);
}

TEST(Gguf, RefusesDamage) {
  const TemporaryDirectory directory;
  const auto one = [](const std::vector<std::uint64_t>& shape, std::uint32_t type, std::uint64_t offset, std::size_t data = 4) {
    return Builder().header(1, 0).tensor("t", shape, type, offset).pad().zeros(data).bytes();
  };
  constexpr std::uint64_t kHuge = 1ULL << 62;
  struct Case {
    std::string bytes, message;
  };
  const std::vector<Case> cases = {
      {"", "magic"},
      {"GGU", "magic"},
      {"GGUX" + std::string(20, '\0'), "not a GGUF file"},
      {Builder().header(0, 0, 1).bytes(), "version 1"},
      {Builder().header(0, 0, 4).bytes(), "version 4"},
      {Builder().header(0, 0, 0x03000000).bytes(), "big-endian"},
      {Builder().header(kHuge, 0).bytes(), "list of tensors"},
      {Builder().header(0, kHuge).bytes(), "metadata"},
      {Builder().header(20'000, 0).zeros(600'000).bytes(), "trusted to hold"},
      {Builder().header(0, 40'000).zeros(600'000).bytes(), "trusted to hold"},
      {Builder().header(0, 1).number(~0ULL).zeros(20).bytes(), "metadata key"},
      {Builder().header(0, 1).string("k").number<std::uint32_t>(13).zeros(20).bytes(), "expected 0 to 12"},
      {Builder().header(0, 1).string("k").number<std::uint32_t>(8).number(kHuge).bytes(), "a string"},
      {Builder().header(0, 1).array("k", 10, (1ULL << 61) + 1).zeros(64).bytes(), "an array"},
      {Builder().header(0, 1).array("k", 8, kHuge).zeros(64).bytes(), "an array"},
      {Builder().header(0, 1).array("k", 9, kHuge).zeros(64).bytes(), "an array"},
      {Builder().header(0, 1).array("k", 99, 1).zeros(64).bytes(), "expected 0 to 12"},
      {Builder().header(0, 1).string("k\xFF").number<std::uint32_t>(0).zeros(1).bytes(), "not UTF-8"},
      {Builder().header(0, 2).string("k").number(0).zeros(1).string("k").number(0).zeros(1).bytes(), "key k twice"},
      {Builder().header(2, 0).tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32).pad().zeros(64).bytes(), "two tensors named t"},
      {Builder().header(2, 0).tensor("t", {9}, 0, 0).tensor("u", {1}, 0, 32).pad().zeros(64).bytes(), "t and u overlap"},
      {Builder().header(1, 0).tensor("t\xFF", {1}, 0, 0).pad().zeros(64).bytes(), "not UTF-8"},
      {Builder().header(1, 0).tensor(std::string(5000, 'n'), {1}, 0, 0).pad().zeros(64).bytes(), "5000 bytes long"},
      {one({1, 1, 1, 1, 1}, 0, 0), "5 dimensions"},
      {one({1}, 10, 0), "type Q2_K, which is not read"},
      {one({1}, 99, 0), "type type 99"},
      {one({1}, 0, 0, 3), "damaged or cut off"},
      {one({1}, 0, 32), "damaged or cut off"},
      {one({1}, 0, ~0ULL - 31), "damaged or cut off"},
      {one({1}, 0, 4, 64), "not a multiple of 32"},
      {one({33}, 2, 0, 64), "whole blocks"},
      {one({128, 2}, 12, 0, 144), "whole blocks"},
      {one({kHuge, 4}, 0, 0), "too large"},
      {one({~0ULL}, 0, 0), "too large"},
      {one({kHuge, 1}, 0, 0), "too large"},
      {one({0, kHuge, kHuge}, 0, 0), "too large"},
      {one({1ULL << 60}, 2, 0), "damaged or cut off"},
  };
  for (const Case& item : cases) {
    const auto path = directory.write("bad.gguf", item.bytes);
    const std::string message = error_of([&] { GgufFile file(path); });
    EXPECT_NE(message.find(item.message), std::string::npos) << message << "\nexpected: " << item.message;
    EXPECT_TRUE(message.starts_with(path.string())) << message;
  }
  for (const std::uint32_t alignment : {0U, 3U, 0x80000000U}) {
    Builder builder;
    builder.header(0, 1).string("general.alignment").number<std::uint32_t>(4).number(alignment);
    const auto path = directory.write("bad.gguf", builder.bytes());
    EXPECT_NE(error_of([&] { GgufFile file(path); }).find("power of two"), std::string::npos);
  }
}

TEST(Gguf, LimitsNestingAndElements) {
  const TemporaryDirectory directory;
  Builder deep;
  deep.header(0, 1).string("k").number<std::uint32_t>(9);
  for (int i = 0; i < 100'000; ++i) {
    deep.number<std::uint32_t>(9).number<std::uint64_t>(1);
  }
  EXPECT_NE(error_of([&] { GgufFile file(directory.write("a", deep.bytes())); }).find("nest deeper"), std::string::npos);

  // Empty strings take 8 bytes in the file and 32 in memory: they may be there, but are not decoded.
  const GgufFile many(directory.write("b", Builder().header(0, 1).array("k", 8, 50'000).zeros(400'000).bytes()));
  EXPECT_NE(error_of([&] { (void)many.strings("k"); }).find("trusted to hold"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)many.value("k"); }).find("to be trusted"), std::string::npos);

  const GgufFile broken(directory.write("c", Builder().header(0, 1).array("k", 8, 1).string("\xFF").bytes()));
  EXPECT_NE(error_of([&] { (void)broken.strings("k"); }).find("k is not UTF-8"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog

// The reader and writer against files that the reference library made, and against files that it refuses.
#include "hedgehog/checkpoint/safetensors.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/checkpoint/tensor_allocation.h"
#include "tests/checkpoint/fixtures.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>

namespace hedgehog {
namespace {

using hedgehog::testing::error_of;
using hedgehog::testing::kFixtures;
using hedgehog::testing::TemporaryDirectory;

std::string file_of(std::string_view header, std::string_view data = "") {
  std::string bytes(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  return bytes + std::string(header) + std::string(data);
}

TEST(Safetensors, ReadsEveryDtype) {
  const SafetensorsFile file(kFixtures / "all_types.safetensors");
  EXPECT_EQ(file.tensors().size(), 13U);
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"note \"é\"\n", "made by the reference library"}}));
  const at::Tensor counted = at::arange(6).reshape({2, 3}) - 3;
  const std::vector<std::pair<std::string, at::ScalarType>> dtypes = {
      {"c_i8", at::kChar},   {"d_i16", at::kShort},  {"e_f16", at::kHalf}, {"f_bf16", at::kBFloat16}, {"g_i32", at::kInt},
      {"h_f32", at::kFloat}, {"i_f64", at::kDouble}, {"j_i64", at::kLong}, {"a_bool", at::kBool}};
  for (const auto& [name, dtype] : dtypes) {
    EXPECT_TRUE(file.load(name).equal(counted.to(dtype))) << name;
  }
  EXPECT_TRUE(file.load("b_u8").equal((counted + 3).to(at::kByte)));
  EXPECT_TRUE(file.load("k_scalar").equal(at::scalar_tensor(1.5F)));
  EXPECT_EQ(file.load("l_empty").sizes(), (std::vector<std::int64_t>{0, 3}));
  EXPECT_TRUE(file.load_float("f_bf16", {2, 3}).equal(counted.to(at::kFloat)));
  EXPECT_TRUE(file.contains("k_scalar"));
  EXPECT_FALSE(file.contains("__metadata__"));
}

TEST(Safetensors, ErrorsNameTensorAndFile) {
  const SafetensorsFile file(kFixtures / "all_types.safetensors");
  const std::string missing = error_of([&] { file.load("nobody"); });
  EXPECT_NE(missing.find("all_types.safetensors: has no tensor nobody"), std::string::npos);
  const std::string shape = error_of([&] { file.load_float("h_f32", {3, 2}); });
  EXPECT_NE(shape.find("h_f32 has shape [2, 3], expected [3, 2]"), std::string::npos) << shape;
}

TEST(Safetensors, WritesTheReferenceLibrarysBytes) {
  const TemporaryDirectory directory;
  const SafetensorsFile original(kFixtures / "all_types.safetensors");
  NamedTensors tensors;
  for (const TensorInfo& info : original.tensors()) {
    tensors.emplace_back(info.name, original.load(info.name));
  }
  for (int round = 0; round < 2; ++round) {
    write_safetensors(directory / "copy", tensors, original.metadata());
    EXPECT_EQ(read_text_file(directory / "copy"), read_text_file(kFixtures / "all_types.safetensors"));
    std::reverse(tensors.begin(), tensors.end());  // the order of the arguments is not the file's
  }
}

TEST(Safetensors, WritesViewsAndReplacesFiles) {
  const TemporaryDirectory directory;
  const at::Tensor base = at::arange(12, at::kFloat).reshape({3, 4});
  write_safetensors(directory / "a", {{"t", base.t()}, {"column", base.select(1, 2)}});
  write_safetensors(directory / "a", {{"t", base.t()}, {"half", base.narrow(1, 1, 2)}});
  const SafetensorsFile file(directory / "a");
  EXPECT_TRUE(file.load("t").equal(base.t()));
  EXPECT_TRUE(file.load("half").equal(base.narrow(1, 1, 2)));
  EXPECT_FALSE(file.contains("column"));
  write_safetensors(directory / "empty", {});
  EXPECT_TRUE(SafetensorsFile(directory / "empty").tensors().empty());
}

TEST(Safetensors, WriterRefusesWhatTheFormatCannotHold) {
  const TemporaryDirectory directory;
  const at::Tensor one = at::ones({1});
  const auto write = [&](const NamedTensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
    return error_of([&] { write_safetensors(directory / "a", tensors, metadata); });
  };
  EXPECT_NE(write({{"a", one}, {"a", one}}).find("two tensors are named a"), std::string::npos);
  EXPECT_NE(write({{"__metadata__", one}}).find("__metadata__"), std::string::npos);
  EXPECT_NE(write({{"a", at::Tensor()}}).find("not defined"), std::string::npos);
  EXPECT_NE(write({{"a", one.to(at::kComplexDouble)}}).find("ComplexDouble"), std::string::npos);
  EXPECT_NE(write({{"a\xFF", one}}).find("not UTF-8"), std::string::npos);
  EXPECT_NE(write({{"a", one}}, {{"k", "\xFF"}}).find("not UTF-8"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(directory / "a"));
}

TEST(Safetensors, FullDiskLeavesThePreviousFile) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "a", {{"x", at::ones({4})}});
  const std::string before = read_text_file(directory / "a");
  // A limit on file sizes fails writes as a full disk does: after some bytes, with an error.
  rlimit unlimited{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limited{10'000, unlimited.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limited), 0);
  std::string message;
  try {
    write_safetensors(directory / "a", {{"x", at::ones({10'000})}});
  } catch (const Error& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &unlimited);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("is unchanged"), std::string::npos) << message;
  EXPECT_EQ(read_text_file(directory / "a"), before);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& item : std::filesystem::directory_iterator(directory.path())) {
    ++files;
  }
  EXPECT_EQ(files, 1U) << "the partial file is still there";
}

TEST(Safetensors, RefusesDamage) {
  const TemporaryDirectory directory;
  const std::string f4 = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const std::string four(4, '\0'), twelve(12, '\0');
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  struct Case {
    std::string bytes, message;
  };
  const std::vector<Case> cases = {
      {"", "too short"},
      {"1234567", "too short"},
      {std::string(8, '\xFF') + "{}", "more than the 100000000"},
      {file_of("{}").substr(0, 9), "only 1 follow"},
      {file_of(""), "'{'"},
      {file_of("[]"), "'{'"},
      {file_of("{} x"), "the end"},
      {file_of("{\"a\xFF\":" + f4 + "}", four), "UTF-8"},
      {file_of("{\"a\":" + f4 + R"(,"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", four + four),
       "two tensors named a"},
      {file_of(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four), "\"dtype\" twice"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1]}})", four), "needs"},
      {file_of("{\"a\":[]}"), "'{'"},
      {file_of(entry("F33", "[1]", "[0,4]"), four), "tensor a has the unknown dtype \"F33\""},
      {file_of(entry("F32", "[2]", "[0,4]"), four), "needs 8 bytes, its data_offsets give 4"},
      {file_of(entry("F32", "[1.0]", "[0,4]"), four), "integer"},
      {file_of(entry("F32", "[-1]", "[0,4]"), four), "integer"},
      {file_of(entry("F32", "[1]", "[4,0]"), four), "ends before"},
      {file_of(entry("F32", "[1]", "[0,4,8]"), four), "3 data_offsets"},
      {file_of(entry("F32", "[1]", "[4,8]"), four + four), "a hole"},
      {file_of(entry("F32", "[2]", "[0,8]"), four), "cut off"},
      {file_of(entry("F32", "[1]", "[0,4]"), four + four), "cover 4 bytes of the buffer's 8"},
      {file_of(entry("F32", "[4611686018427387904]", "[0,0]")), "too large"},
      {file_of(entry("F32", "[4294967296,4294967296,0]", "[0,0]")), "too large"},
      {file_of(entry("F32", "[0,9223372036854775807,2]", "[0,0]")), "too large"},
      {file_of(entry("F32", "[18446744073709551615]", "[0,4]"), four), "too large"},
      {file_of(entry("F4", "[7]", "[0,4]"), four), "byte's border"},
      {file_of(R"({"a":)" + f4 + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[2,10]}})", twelve.substr(2)), "an overlap"},
      {file_of(R"({"__metadata__":{"a":1}})"), "'\"'"},
      {file_of(R"({"__metadata__":{"a":"1","a":"2"}})"), "twice"},
      {file_of(R"({"__metadata__":{},"__metadata__":{}})"), "twice"},
      {file_of("{\"" + std::string(5000, 'n') + "\":" + f4 + "}", four), "5000 bytes long"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":)" + std::string(200, '[') + "}}", four), "levels"},
  };
  for (const Case& item : cases) {
    const auto path = directory.write("bad", item.bytes);
    const std::string message = error_of([&] { SafetensorsFile file(path); });
    EXPECT_NE(message.find(item.message), std::string::npos) << message << "\nexpected: " << item.message;
    EXPECT_TRUE(message.starts_with(path.string())) << message;
  }
  EXPECT_THROW(SafetensorsFile(directory / "absent"), Error);
  EXPECT_THROW(SafetensorsFile(directory.path()), Error);
}

TEST(Safetensors, AcceptsWhatTheReferenceDoes) {
  const TemporaryDirectory directory;
  const auto open = [&](const std::string& header, const std::string& data) {
    return SafetensorsFile(directory.write("good", file_of(header, data)));
  };
  const std::string four("\0\0\x80\x3F", 4);
  EXPECT_TRUE(open("{}", "").tensors().empty());
  EXPECT_TRUE(open(R"({"__metadata__":null})", "").metadata().empty());
  // Unordered entries, blanks, an unknown key, escapes in names.
  const auto file = open(
      " {\"b\\u00e9\":{\"shape\":[1],\"extra\":[{}],\"data_offsets\":[4,8],\"dtype\":\"F32\"} , "
      "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}  \n",
      four + four);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.load("bé").item<float>(), 1.0F);
  // A bool of neither 0 nor 1 is true.
  const auto boolean = open(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", std::string("\x02\x00", 2));
  EXPECT_TRUE(boolean.load("a").equal(at::tensor(std::vector<std::int64_t>{1, 0}).to(at::kBool)));
  // In the file, not loadable, and it says so.
  const auto four_bits = open(R"({"a":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}})", four);
  EXPECT_NE(error_of([&] { four_bits.load("a"); }).find("cannot be loaded"), std::string::npos);
}

TEST(Safetensors, TrustsOnlySoManyEntries) {
  const TemporaryDirectory directory;
  std::string header = "{";
  for (int i = 0; i < 20'000; ++i) {
    header += (i > 0 ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  const auto path = directory.write("many", file_of(header + "}"));
  EXPECT_NE(error_of([&] { SafetensorsFile file(path); }).find("trusted to hold"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog

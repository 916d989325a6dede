// Thousands of damaged files of every format: each loads whole or throws Error, in bounded memory.
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/checkpoint/gguf_translation.h"
#include "hedgehog/checkpoint/huggingface_directory.h"
#include "hedgehog/checkpoint/json_file.h"
#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/checkpoint/sharded_safetensors.h"
#include "tests/checkpoint/fixtures.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/mutator.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using hedgehog::testing::AllocationPeak;
using hedgehog::testing::kFixtures;
using hedgehog::testing::Mutator;
using hedgehog::testing::TemporaryDirectory;

constexpr int kMutations = 1500;

void load_everything(const TensorSource& source) {
  for (const TensorInfo& info : source.tensors()) {
    const at::Tensor tensor = source.load(info.name);
    ASSERT_EQ(tensor.sizes(), at::IntArrayRef(info.shape));
    ASSERT_LE(tensor.nbytes(), 8 * info.bytes + 16);  // Q4_0: 18 bytes become 128
  }
}

// Writes damaged copies of `file` into `directory` and calls open() on each.
template <typename Open>
void expect_errors_only(const TemporaryDirectory& directory, const std::string& file, std::uint64_t seed, Open open) {
  const std::string original = read_text_file(directory / file);
  open();  // what is undamaged loads
  Mutator mutator(seed);
  int refused = 0;
  for (int i = 0; i < kMutations; ++i) {
    const std::string damaged = mutator.mutate(original);
    directory.write(file, damaged);
    const AllocationPeak peak;
    try {
      open();
    } catch (const Error& error) {
      ++refused;
      EXPECT_NE(std::string_view(error.what()), "");
    } catch (const std::exception& error) {
      ADD_FAILURE() << "mutation " << i << " (" << mutator.what() << ") threw no Error: " << error.what();
    }
    const auto bound = static_cast<std::ptrdiff_t>(2 * damaged.size() + (1 << 20));
    EXPECT_LE(peak.bytes(), bound) << "mutation " << i << " (" << mutator.what() << ") of " << damaged.size() << " bytes";
    if (::testing::Test::HasFailure()) {
      return;
    }
  }
  // Most damage must show; what lies in tensors' values or in texts cannot.
  EXPECT_GT(refused, kMutations / 10);
  ::testing::Test::RecordProperty("refused", refused);
}

class HostileInput : public ::testing::Test {
 protected:
  void copy(const std::filesystem::path& from) {
    std::filesystem::copy(from, std::filesystem::is_directory(from) ? directory_.path() : directory_ / from.filename().string(),
                          std::filesystem::copy_options::recursive);
  }
  const TemporaryDirectory directory_;
};

TEST_F(HostileInput, Safetensors) {
  copy(kFixtures / "all_types.safetensors");
  expect_errors_only(directory_, "all_types.safetensors", 1,
                     [&] { load_everything(SafetensorsFile(directory_ / "all_types.safetensors")); });
}

TEST_F(HostileInput, Gguf) {
  copy(kFixtures / "quantized.gguf");
  expect_errors_only(directory_, "quantized.gguf", 2, [&] {
    const GgufFile file(directory_ / "quantized.gguf");
    for (const std::string_view key : file.keys()) {
      file.value(key);
    }
    load_everything(file);
  });
}

TEST_F(HostileInput, GgufModel) {
  copy(kFixtures / "tiny_llama.gguf");
  expect_errors_only(directory_, "tiny_llama.gguf", 3,
                     [&] { load_everything(*open_checkpoint(directory_ / "tiny_llama.gguf").tensors); });
}

TEST_F(HostileInput, GgufRotaryFactors) {
  copy(kFixtures / "llama3.gguf");
  expect_errors_only(directory_, "llama3.gguf", 4, [&] { translate_gguf_config(GgufFile(directory_ / "llama3.gguf")); });
}

TEST_F(HostileInput, Config) {
  copy(kFixtures / "tiny_llama");
  expect_errors_only(directory_, "config.json", 5, [&] { open_checkpoint(directory_.path()); });
}

TEST_F(HostileInput, ModelInDirectory) {
  copy(kFixtures / "tiny_llama");
  expect_errors_only(directory_, "model.safetensors", 6, [&] { load_everything(*open_checkpoint(directory_.path()).tensors); });
}

TEST_F(HostileInput, Index) {
  copy(kFixtures / "tiny_llama_sharded");
  expect_errors_only(directory_, "model.safetensors.index.json", 7,
                     [&] { load_everything(*open_checkpoint(directory_.path()).tensors); });
}

TEST_F(HostileInput, Tokenizer) {
  copy(kFixtures / "tiny_llama");
  expect_errors_only(directory_, "tokenizer.json", 8, [&] { open_checkpoint(directory_.path()); });
}

TEST_F(HostileInput, TokenizerConfig) {
  copy(kFixtures / "tiny_llama");
  expect_errors_only(directory_, "tokenizer_config.json", 9, [&] { open_checkpoint(directory_.path()); });
}

// Bytes chosen for the most memory per byte, large enough that the megabyte of slack does not matter.
TEST_F(HostileInput, MemoryIsBoundedByTheFile) {
  const auto bounded = [&](const std::string& name, const std::string& bytes, const auto& open) {
    directory_.write(name, bytes);
    const AllocationPeak peak;
    try {
      open(directory_ / name);
    } catch (const Error&) {
    }
    EXPECT_LE(peak.bytes(), static_cast<std::ptrdiff_t>(2 * bytes.size() + (1 << 20))) << name;
  };
  const auto safetensors = [](const std::filesystem::path& path) { SafetensorsFile file(path); };
  const auto gguf = [](const std::filesystem::path& path) { GgufFile file(path); };
  const auto with_length = [](const std::string& header) {
    std::string bytes;
    for (std::uint64_t i = 0, length = header.size(); i < 8; ++i, length >>= 8) {
      bytes += static_cast<char>(length & 0xFF);
    }
    return bytes + header;
  };
  std::string entries, metadata;
  for (int i = 0; i < 200'000; ++i) {
    entries += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", i > 0 ? "," : "", i);
    metadata += fmt::format(R"({}"{}":"")", i > 0 ? "," : "", i);
  }
  bounded("entries", with_length("{" + entries + "}"), safetensors);
  bounded("metadata", with_length(R"({"__metadata__":{)" + metadata + "}}"), safetensors);
  bounded("string", with_length("{\"" + std::string(8 << 20, 'a') + "\":1}"), safetensors);
  bounded("dtype", with_length(R"({"a":{"dtype":")" + std::string(8 << 20, 'a') + "\"}}"), safetensors);
  std::string lists = R"({"a":{"x":[)";
  for (int i = 0; i < 2'000'000; ++i) {
    lists += "[],";
  }
  bounded("lists", with_length(lists), safetensors);
  bounded("broken.json", lists, [](const std::filesystem::path& path) { read_json_file(path, 1 << 30); });
  bounded("long.json", '"' + std::string(8 << 20, 'a'),
          [](const std::filesystem::path& path) { read_json_file(path, 1 << 30); });

  const auto number = [](std::uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i, value >>= 8) {
      text += static_cast<char>(value & 0xFF);
    }
    return text;
  };
  constexpr std::uint64_t kMany = 200'000;
  std::string keys, tensors;
  for (std::uint64_t i = 0; i < kMany; ++i) {
    keys += number(3, 8) + number(i, 3) + number(0, 4) + number(0, 1);
    tensors += number(3, 8) + number(i, 3) + number(1, 4) + number(0, 8) + number(0, 4) + number(0, 8);
  }
  const std::string head = "GGUF" + number(3, 4);
  bounded("keys", head + number(0, 8) + number(kMany, 8) + keys, gguf);
  bounded("tensors", head + number(kMany, 8) + number(0, 8) + tensors, gguf);
  const std::string array = head + number(0, 8) + number(1, 8) + number(1, 8) + "k" + number(9, 4);
  const auto decode = [](const std::filesystem::path& path) { GgufFile(path).value("k"); };
  bounded("arrays", array + number(9, 4) + number(kMany, 8) + std::string(12 * kMany, '\0'), decode);
  bounded("strings", array + number(8, 4) + number(kMany, 8) + std::string(8 * kMany, '\0'), decode);
  bounded("bytes", array + number(0, 4) + number(8 << 20, 8) + std::string(8 << 20, '\0'), decode);
}

}  // namespace
}  // namespace hedgehog

#include "hedgehog/checkpoint/huggingface_directory.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/sha256.h"
#include "hedgehog/checkpoint/sharded_safetensors.h"
#include "tests/checkpoint/fixtures.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using hedgehog::testing::error_of;
using hedgehog::testing::kFixtures;
using hedgehog::testing::TemporaryDirectory;

void expect_error(const std::filesystem::path& path, std::string_view part) {
  const std::string message = error_of([&] { open_checkpoint(path); });
  EXPECT_NE(message.find(part), std::string::npos) << message << "\nexpected: " << part;
}

TEST(HuggingFaceDirectory, OpensOneFile) {
  const Checkpoint checkpoint = open_checkpoint(kFixtures / "tiny_llama");
  EXPECT_EQ(checkpoint.format, "safetensors");
  EXPECT_EQ(checkpoint.config["hidden_size"], 32);
  EXPECT_TRUE(checkpoint.tensors->contains("model.layers.1.self_attn.q_proj.bias"));
  EXPECT_TRUE(checkpoint.tokenizer.tokenizer_json->contains("model"));
  EXPECT_EQ(checkpoint.tokenizer.tokenizer_config["bos_token"], "<s>");
  EXPECT_EQ(checkpoint.tokenizer.chat_template, "yes");
  EXPECT_EQ(checkpoint.tokenizer.bos, 0);
  EXPECT_EQ(checkpoint.tokenizer.eos, 1);
  EXPECT_FALSE(checkpoint.tokenizer.padding.has_value());
}

TEST(HuggingFaceDirectory, ShardsHoldTheSameTensors) {
  const Checkpoint whole = open_checkpoint(kFixtures / "tiny_llama");
  const Checkpoint sharded = open_checkpoint(kFixtures / "tiny_llama_sharded");
  EXPECT_EQ(sharded.tensors->tensors().size(), whole.tensors->tensors().size());
  for (const TensorInfo& info : whole.tensors->tensors()) {
    EXPECT_TRUE(sharded.tensors->load(info.name).equal(whole.tensors->load(info.name))) << info.name;
  }
  EXPECT_EQ(sharded.tokenizer.chat_template, "{{ bos_token }}");
  EXPECT_FALSE(sharded.tokenizer.tokenizer_json.has_value());
  EXPECT_TRUE(sharded.tokenizer.tokenizer_config.is_object());
  EXPECT_NE(error_of([&] { sharded.tensors->load("nobody"); }).find("has no tensor nobody"), std::string::npos);
}

TEST(HuggingFaceDirectory, FindsTheTokenizersFiles) {
  const TemporaryDirectory directory;
  const TokenizerSource nothing = read_tokenizer_files(directory.path());
  EXPECT_FALSE(nothing.tokenizer_json || nothing.sentencepiece_model || nothing.word_pieces);
  EXPECT_TRUE(nothing.tokenizer_config.is_object());
  directory.write("vocab.txt", "[UNK]\na\n");
  EXPECT_EQ(read_tokenizer_files(directory.path()).word_pieces, "[UNK]\na\n");
  directory.write("tokenizer.model", std::string_view("\0\xFF", 2));
  const TokenizerSource model = read_tokenizer_files(directory.path());
  EXPECT_EQ(model.sentencepiece_model, std::string_view("\0\xFF", 2));
  EXPECT_FALSE(model.word_pieces);
  directory.write("tokenizer.json", "{}");
  const TokenizerSource json = read_tokenizer_files(directory.path());
  EXPECT_TRUE(json.tokenizer_json);
  EXPECT_FALSE(json.sentencepiece_model || json.word_pieces);
}

TEST(HuggingFaceDirectory, RefusesWhatIsMissing) {
  const TemporaryDirectory directory;
  expect_error(directory / "absent", "is not there");
  expect_error(directory.path(), "config.json");
  directory.write("config.json", "{}");
  expect_error(directory.path(), "neither model.safetensors nor model.safetensors.index.json");
  expect_error(directory.write("model.bin", "PK"), "neither a directory nor a GGUF file");
  expect_error(kFixtures / "tiny_llama" / "model.safetensors", "give the directory");
  directory.write("config.json", "[]");
  expect_error(directory.path(), "expected a JSON object");
  directory.write("config.json", "{\"a\":}");
  expect_error(directory.path(), "config.json: JSON is broken at byte 5");
}

TEST(HuggingFaceDirectory, RefusesDamagedIndexes) {
  const TemporaryDirectory directory;
  std::filesystem::copy(kFixtures / "tiny_llama_sharded", directory.path(), std::filesystem::copy_options::recursive);
  const auto with = [&](const std::string& index, std::string_view part) {
    directory.write("model.safetensors.index.json", index);
    expect_error(directory.path(), part);
  };
  with("{}", "weight_map");
  with(R"({"weight_map":[]})", "weight_map");
  with(R"({"weight_map":{"a":1}})", "expected a file name");
  with(R"({"weight_map":{"a":"absent.safetensors"}})", "absent.safetensors, which is not there");
  with(R"({"weight_map":{"a":"model-00001-of-00003.safetensors"}})", "tensor a should be in");
  with(R"({"weight_map":{"a":"../model.safetensors"}})", "not a plain file name");
  with(R"({"weight_map":{"a":"/etc/passwd"}})", "not a plain file name");
  with(R"({"weight_map":{"a":".."}})", "not a plain file name");
  with(R"({"weight_map":{"a":""}})", "not a plain file name");
  with(R"({"weight_map":{"a":"x\u0000y"}})", "not a plain file name");
  with(R"({"weight_map":{"a":")" + std::string(300, 'x') + "\"}}", "not a plain file name");
  with(R"({"weight_map":{"a":"config.json"}})", "config.json");
}

TEST(HuggingFaceDirectory, HashesItsTensorsFiles) {
  const auto folder = kFixtures / "tiny_llama_sharded";
  Sha256 hash;
  for (const char* part : {"1", "2", "3"}) {
    const std::string bytes = read_text_file(folder / fmt::format("model-0000{}-of-00003.safetensors", part));
    hash.update(std::as_bytes(std::span(bytes.data(), bytes.size())));
  }
  EXPECT_EQ(checkpoint_sha256(folder), hash.hexadecimal());
  EXPECT_EQ(checkpoint_sha256(kFixtures / "tiny_llama.gguf"), sha256_of_file(kFixtures / "tiny_llama.gguf"));
  EXPECT_EQ(checkpoint_sha256(kFixtures / "tiny_llama"), sha256_of_file(kFixtures / "tiny_llama" / "model.safetensors"));
  const TemporaryDirectory empty;
  EXPECT_THROW(checkpoint_sha256(empty.path()), Error);
  EXPECT_THROW(checkpoint_sha256(empty / "absent"), Error);
}

}  // namespace
}  // namespace hedgehog

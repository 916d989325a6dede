// GGUF models in Hugging Face's terms, against the models that they were made from (tests/fixtures/checkpoint).
#include "hedgehog/checkpoint/gguf_translation.h"

#include "hedgehog/checkpoint/safetensors.h"
#include "tests/checkpoint/fixtures.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace hedgehog {
namespace {

using hedgehog::testing::error_of;
using hedgehog::testing::kFixtures;

TEST(GgufTranslation, NamesTensors) {
  EXPECT_EQ(translate_tensor_name("token_embd.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(translate_tensor_name("output_norm.weight"), "model.norm.weight");
  EXPECT_EQ(translate_tensor_name("output.weight"), "lm_head.weight");
  EXPECT_EQ(translate_tensor_name("blk.0.attn_norm.weight"), "model.layers.0.input_layernorm.weight");
  EXPECT_EQ(translate_tensor_name("blk.12.attn_q.bias"), "model.layers.12.self_attn.q_proj.bias");
  EXPECT_EQ(translate_tensor_name("blk.1.attn_k_norm.weight"), "model.layers.1.self_attn.k_norm.weight");
  EXPECT_EQ(translate_tensor_name("blk.1.ffn_norm.weight"), "model.layers.1.post_attention_layernorm.weight");
  EXPECT_EQ(translate_tensor_name("blk.1.ffn_down.weight"), "model.layers.1.mlp.down_proj.weight");
  for (const char* unknown : {"rope_freqs.weight", "blk.x.attn_q.weight", "blk..attn_q.weight", "blk.1.weight", "blk.1", "",
                              ".", "blk.1.attn_q.scale", "weight"}) {
    EXPECT_EQ(translate_tensor_name(unknown), unknown);
  }
}

TEST(GgufTranslation, TinyLlamaEqualsItsDirectory) {
  const Checkpoint original = open_checkpoint(kFixtures / "tiny_llama");
  const Checkpoint gguf = open_checkpoint(kFixtures / "tiny_llama.gguf");
  EXPECT_EQ(gguf.format, "gguf");
  for (const char* key :
       {"model_type", "architectures", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "rms_norm_eps", "max_position_embeddings", "vocab_size", "tie_word_embeddings",
        "attention_bias", "mlp_bias", "hidden_act", "bos_token_id", "eos_token_id"}) {
    EXPECT_EQ(gguf.config[key], original.config[key]) << key;
  }
  EXPECT_EQ(gguf.config["rope_theta"], 10000.0);
  EXPECT_FALSE(gguf.config.contains("rope_scaling"));
  EXPECT_FALSE(gguf.config.contains("sliding_window"));
  EXPECT_EQ(gguf.tensors->tensors().size(), original.tensors->tensors().size());
  for (const TensorInfo& info : original.tensors->tensors()) {
    EXPECT_TRUE(gguf.tensors->load(info.name).equal(original.tensors->load(info.name))) << info.name;
  }
}

TEST(GgufTranslation, FillsTheTokenizer) {
  const TokenizerSource source = open_checkpoint(kFixtures / "tiny_llama.gguf").tokenizer;
  EXPECT_FALSE(source.tokenizer_json.has_value());
  EXPECT_EQ(source.gguf_model, "gpt2");
  EXPECT_EQ(source.gguf_pretokenizer, "smollm");
  ASSERT_EQ(source.gguf_tokens.size(), 48U);
  EXPECT_EQ(source.gguf_tokens[47], "abc");
  EXPECT_EQ(source.gguf_token_types[1], 3);
  EXPECT_EQ(source.gguf_merges, (std::vector<std::string>{"a b", "ab c"}));
  EXPECT_EQ(source.bos, 0);
  EXPECT_EQ(source.eos, 1);
  EXPECT_EQ(source.unknown, 0);
  EXPECT_EQ(source.padding, 1);
  EXPECT_EQ(source.tokenizer_config["bos_token"], "<s>");
  EXPECT_EQ(source.tokenizer_config["eos_token"], "</s>");
  EXPECT_EQ(source.tokenizer_config["add_bos_token"], false);
  EXPECT_TRUE(source.chat_template.starts_with("{% for message"));
}

TEST(GgufTranslation, Qwen2HasBiasesYarnAndItsOwnRowOrder) {
  const Checkpoint gguf = open_checkpoint(kFixtures / "qwen2.gguf");
  EXPECT_EQ(gguf.config["model_type"], "qwen2");
  EXPECT_EQ(gguf.config["tie_word_embeddings"], true);
  EXPECT_EQ(gguf.config["attention_bias"], true);
  EXPECT_EQ(gguf.config["rope_scaling"],
            (nlohmann::json{{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}}));
  const SafetensorsFile expected(kFixtures / "qwen2_expected.safetensors");
  EXPECT_EQ(gguf.tensors->tensors().size(), expected.tensors().size());
  for (const TensorInfo& info : expected.tensors()) {
    EXPECT_TRUE(gguf.tensors->load(info.name).equal(expected.load(info.name))) << info.name;
  }
}

TEST(GgufTranslation, OtherVariants) {
  const Checkpoint qwen3 = open_checkpoint(kFixtures / "qwen3.gguf");
  EXPECT_EQ(qwen3.config["model_type"], "qwen3");
  EXPECT_EQ(qwen3.config["head_dim"], 16);
  EXPECT_EQ(qwen3.config["attention_bias"], false);
  EXPECT_EQ(qwen3.config["rope_scaling"], (nlohmann::json{{"rope_type", "linear"}, {"factor", 2.0}}));
  EXPECT_EQ(qwen3.tensors->load("model.layers.0.self_attn.q_norm.weight").size(0), 16);

  const Checkpoint llama3 = open_checkpoint(kFixtures / "llama3.gguf");
  EXPECT_EQ(llama3.config["rope_scaling"]["rope_type"], "llama3");
  EXPECT_NEAR(llama3.config["rope_scaling"]["factor"].get<double>(), 32.0, 1e-4);
  EXPECT_EQ(llama3.config["rope_scaling"]["original_max_position_embeddings"], 8192);

  const Checkpoint other = open_checkpoint(kFixtures / "rope_factors.gguf");
  const nlohmann::json& scaling = other.config["rope_scaling"];
  EXPECT_EQ(scaling["rope_type"], "longrope");
  EXPECT_EQ(scaling["short_factor"], (nlohmann::json{1.0, 3.0, 2.0, 5.0}));
  EXPECT_EQ(scaling["long_factor"], scaling["short_factor"]);
  EXPECT_EQ(scaling["attention_factor"], 1.0);

  const Checkpoint mistral = open_checkpoint(kFixtures / "mistral.gguf");
  EXPECT_EQ(mistral.config["model_type"], "mistral");
  EXPECT_EQ(mistral.config["sliding_window"], 16);
}

TEST(GgufTranslation, RefusesUnknownArchitectures) {
  EXPECT_NE(error_of([] { open_checkpoint(kFixtures / "quantized.gguf"); }).find("general.architecture is \"test\""),
            std::string::npos);
}

TEST(GgufTranslation, SmolLM2) {
  const char* models = std::getenv("HEDGEHOG_MODELS");
  const std::filesystem::path folder = models != nullptr ? models : HEDGEHOG_SOURCE_DIR "/.deps/models";
  const auto path = folder / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "skipped: no data: " << path;
  }
  const Checkpoint checkpoint = open_checkpoint(path);
  EXPECT_EQ(checkpoint.config["model_type"], "llama");
  EXPECT_EQ(checkpoint.config["num_hidden_layers"], 30);
  EXPECT_EQ(checkpoint.config["num_key_value_heads"], 3);
  EXPECT_EQ(checkpoint.config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(checkpoint.config["rope_theta"], 100000.0);
  EXPECT_EQ(checkpoint.config["vocab_size"], 49152);
  EXPECT_EQ(checkpoint.config["tie_word_embeddings"], true);
  EXPECT_EQ(checkpoint.tokenizer.gguf_tokens.size(), 49152U);
  EXPECT_EQ(checkpoint.tokenizer.gguf_merges.size(), 48900U);
  EXPECT_EQ(checkpoint.tokenizer.tokenizer_config["eos_token"], "<|im_end|>");

  const SafetensorsFile expected(kFixtures / "smollm2_expected.safetensors");
  const at::Tensor rows = expected.load("rows");
  for (const TensorInfo& info : expected.tensors()) {
    if (info.name == "rows") {
      continue;
    }
    const at::Tensor whole = checkpoint.tensors->load(info.name);
    EXPECT_TRUE((whole.dim() == 1 ? whole : whole.index_select(0, rows)).equal(expected.load(info.name))) << info.name;
  }
}

}  // namespace
}  // namespace hedgehog

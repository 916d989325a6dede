// write_tiny_model: a random checkpoint with a tokenizer, in Hugging Face's layout.
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/checkpoint/safetensors.h"
#include "tests/cli/program.h"

#include <nlohmann/json.hpp>

#include <ATen/ATen.h>

namespace hedgehog::testing {
namespace {

using nlohmann::json;

constexpr std::int64_t kVocabulary = 258;

std::string utf8(std::uint32_t point) {
  if (point < 0x80) return std::string(1, static_cast<char>(point));
  return {static_cast<char>(0xC0 | point >> 6), static_cast<char>(0x80 | (point & 0x3F))};
}

/// Byte-level BPE's alphabet: visible bytes stand for themselves, the others for U+0100 and on.
json byte_vocabulary() {
  json vocabulary;
  std::uint32_t next = 256;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    vocabulary[utf8(visible ? byte : next++)] = byte;
  }
  return vocabulary;
}

json tokenizer() {
  json vocabulary = byte_vocabulary();
  vocabulary["th"] = 256;
  vocabulary["<|endoftext|>"] = 257;
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const json end = {{"id", 257},       {"content", "<|endoftext|>"}, {"single_word", false}, {"lstrip", false},
                    {"rstrip", false}, {"normalized", false},        {"special", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {end}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocabulary},
            {"merges", json::array({"t h"})}}}};
}

json config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", kVocabulary},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 8},
          {"hidden_act", "silu"},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"max_position_embeddings", 2048},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"tie_word_embeddings", true},
          {"bos_token_id", nullptr},
          {"eos_token_id", 257},
          {"torch_dtype", "float32"}};
}

NamedTensors tensors() {
  at::manual_seed(1);
  NamedTensors result;
  const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t columns) {
    result.emplace_back(name, at::randn({rows, columns}) * 0.2);
  };
  matrix("model.embed_tokens.weight", kVocabulary, 32);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    result.emplace_back(prefix + "input_layernorm.weight", at::ones({32}));
    result.emplace_back(prefix + "post_attention_layernorm.weight", at::ones({32}));
    matrix(prefix + "self_attn.q_proj.weight", 32, 32);
    matrix(prefix + "self_attn.k_proj.weight", 16, 32);
    matrix(prefix + "self_attn.v_proj.weight", 16, 32);
    matrix(prefix + "self_attn.o_proj.weight", 32, 32);
    matrix(prefix + "mlp.gate_proj.weight", 48, 32);
    matrix(prefix + "mlp.up_proj.weight", 48, 32);
    matrix(prefix + "mlp.down_proj.weight", 32, 48);
  }
  result.emplace_back("model.norm.weight", at::ones({32}));
  return result;
}

}  // namespace

void write_tiny_model(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  write_text_file(folder / "config.json", config().dump(1));
  write_text_file(folder / "tokenizer.json", tokenizer().dump(1));
  write_text_file(folder / "tokenizer_config.json", json{{"eos_token", "<|endoftext|>"}}.dump(1));
  write_safetensors(folder / "model.safetensors", tensors(), {{"format", "pt"}});
}

}  // namespace hedgehog::testing

// config.json: old and new spellings, what each member of the family leaves out, and errors that name the key.
#include "hedgehog/base/error.h"
#include "hedgehog/models/llama.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using nlohmann::json;

json minimal(const std::string& type) {
  return {{"model_type", type},       {"vocab_size", 100},        {"hidden_size", 64},
          {"intermediate_size", 128}, {"num_hidden_layers", 4},   {"num_attention_heads", 8},
          {"rms_norm_eps", 1e-5},     {"num_key_value_heads", 4}, {"max_position_embeddings", 512}};
}

json with(json config, const json& changes) {
  config.update(changes);
  return config;
}

json longrope_of(const json& short_factor, const json& long_factor) {
  return {{"rope_type", "longrope"}, {"short_factor", short_factor}, {"long_factor", long_factor}, {"attention_factor", 1.0}};
}

// The message of the error that the configuration gives, or "".
std::string error_of(const json& config) {
  try {
    llama_config(config);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(LlamaConfigTest, Defaults) {
  const DecoderConfig config = llama_config(minimal("llama"));
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.rotary.theta, 10000);
  EXPECT_EQ(config.rotary.scaling, "default");
  EXPECT_FALSE(config.qkv_bias || config.output_bias || config.mlp_bias || config.qk_norm || config.tied_embeddings);
  EXPECT_EQ(config.windows, std::vector<std::int64_t>(4, 0));
  json grouped = minimal("llama");
  grouped.erase("num_key_value_heads");
  EXPECT_EQ(llama_config(grouped).kv_heads, 8);
}

TEST(LlamaConfigTest, FamilyDiffers) {
  EXPECT_TRUE(llama_config(minimal("qwen2")).qkv_bias);
  EXPECT_FALSE(llama_config(minimal("qwen2")).output_bias);
  EXPECT_TRUE(llama_config(minimal("qwen3")).qk_norm);
  EXPECT_EQ(llama_config(minimal("qwen3")).head_dim, 128);
  EXPECT_TRUE(llama_config(with(minimal("llama"), {{"attention_bias", true}})).output_bias);
  EXPECT_EQ(llama_config(minimal("mistral")).windows[0], 4096);
  EXPECT_EQ(llama_config(with(minimal("mistral"), {{"sliding_window", nullptr}})).windows[0], 0);
}

TEST(LlamaConfigTest, Qwen2Windows) {
  const json sliding = with(minimal("qwen2"), {{"use_sliding_window", true}, {"sliding_window", 9}, {"max_window_layers", 3}});
  EXPECT_EQ(llama_config(sliding).windows, (std::vector<std::int64_t>{0, 0, 0, 9}));
  EXPECT_EQ(llama_config(with(sliding, {{"use_sliding_window", false}})).windows, std::vector<std::int64_t>(4, 0));
  const json types = {"sliding_attention", "full_attention", "sliding_attention", "full_attention"};
  EXPECT_EQ(llama_config(with(sliding, {{"layer_types", types}})).windows, (std::vector<std::int64_t>{9, 0, 9, 0}));
  EXPECT_NE(error_of(with(sliding, {{"layer_types", {"full_attention"}}})).find("layer_types"), std::string::npos);
  EXPECT_NE(error_of(with(sliding, {{"layer_types", {1, 2, 3, 4}}})).find("layer_types"), std::string::npos);
}

TEST(LlamaConfigTest, RotaryOldAndNewSpellings) {
  const json old_form =
      with(minimal("llama"), {{"rope_theta", 5000.0}, {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
  const json new_form =
      with(minimal("llama"), {{"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 5000.0}}}});
  for (const json& form : {old_form, new_form}) {
    const RotaryConfig rotary = llama_config(form).rotary;
    EXPECT_EQ(rotary.scaling, "linear");
    EXPECT_EQ(rotary.theta, 5000);
    EXPECT_EQ(rotary.factor, 2);
  }
  EXPECT_EQ(llama_config(with(old_form, {{"rope_scaling", nullptr}})).rotary.scaling, "default");
  const json yarn =
      with(minimal("llama"), {{"rope_scaling", {{"rope_type", "yarn"}, {"original_max_position_embeddings", 128}}}});
  EXPECT_EQ(llama_config(yarn).rotary.factor, 4);
  const json llama3 =
      with(minimal("llama"),
           {{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}}}});
  EXPECT_EQ(llama_config(llama3).rotary.original_max_positions, 512);
  const json longrope = with(minimal("llama"), {{"rope_scaling", longrope_of({1, 2.0, 3, 4}, {1, 2, 3, 4})}});
  EXPECT_EQ(llama_config(longrope).rotary.frequency_divisors[1], 2);
}

TEST(LlamaConfigTest, ErrorsNameTheKey) {
  const std::vector<std::pair<std::string, json>> cases{
      {"model_type", {{"model_type", "gpt2"}}},
      {"model_type", {{"model_type", 3}}},
      {"vocab_size", {{"vocab_size", -1}}},
      {"vocab_size", {{"vocab_size", 1e300}}},
      {"hidden_size", {{"hidden_size", 18446744073709551615ULL}}},
      {"num_hidden_layers", {{"num_hidden_layers", 100000000}}},
      {"num_key_value_heads", {{"num_key_value_heads", 3}}},
      {"head_dim", {{"head_dim", 7}}},
      {"hidden_size", {{"hidden_size", 65}}},
      {"hidden_act", {{"hidden_act", "gelu"}}},
      {"rms_norm_eps", {{"rms_norm_eps", "small"}}},
      {"tie_word_embeddings", {{"tie_word_embeddings", 1}}},
      {"rope_theta", {{"rope_theta", 0}}},
      {"quantization_config", {{"quantization_config", {{"quant_method", "fp8"}}}}},
      {"rope_type", {{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2}}}}},
      {"\"type\"", {{"rope_scaling", {{"type", "su"}}}}},
      {"factor", {{"rope_scaling", {{"type", "linear"}}}}},
      {"high_freq_factor", {{"rope_scaling", {{"type", "llama3"}, {"factor", 2}, {"low_freq_factor", 1}}}}},
      {"rope_scaling", {{"rope_scaling", {1, 2}}}},
      {"partial_rotary_factor", {{"partial_rotary_factor", 0.5}}},
      {"short_factor", {{"rope_scaling", longrope_of({1, 2}, {1, 2})}}},
      {"short_factor", {{"rope_scaling", longrope_of({1, 2, 0, 4}, {1, 2, 0, 4})}}},
      {"long_factor", {{"rope_scaling", longrope_of({1, 2, 3, 4}, {1, 2, 3, 5})}}},
      {"attention_factor", {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 2}}, {"long_factor", {1, 2}}}}}},
  };
  for (const auto& [key, change] : cases) {
    EXPECT_NE(error_of(with(minimal("llama"), change)).find(key), std::string::npos)
        << change << ": " << error_of(with(minimal("llama"), change));
  }
  for (const char* key : {"model_type", "vocab_size", "hidden_size", "num_attention_heads"}) {
    json config = minimal("llama");
    config.erase(key);
    EXPECT_NE(error_of(config).find(key), std::string::npos);
  }
  EXPECT_THROW(llama_config(json::array()), Error);
  EXPECT_THROW(llama_config(json()), Error);
}

}  // namespace
}  // namespace hedgehog

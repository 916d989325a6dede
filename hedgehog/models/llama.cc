// config.json of the Llama family into DecoderConfig: what Hugging Face's four configurations mean, old spellings and new.
#include "hedgehog/models/llama.h"

#include "hedgehog/base/error.h"
#include "hedgehog/models/json_fields.h"

#include <array>
#include <cmath>
#include <string_view>

namespace hedgehog {
namespace {

// How the members of the family differ where config.json leaves a value out.
struct Variant {
  std::string_view model_type;
  std::int64_t max_positions;
  bool qkv_bias, qk_norm;
  std::int64_t head_dim;  // 0: hidden / heads
};
constexpr std::array<Variant, 4> kVariants{{{"llama", 2048, false, false, 0},
                                            {"mistral", 131072, false, false, 0},
                                            {"qwen2", 32768, true, false, 0},
                                            {"qwen3", 32768, false, true, 128}}};

const Variant& variant_of(const JsonFields& fields) {
  const std::string type = fields.text("model_type");
  for (const Variant& variant : kVariants) {
    if (variant.model_type == type) return variant;
  }
  fail("{}: \"model_type\" should be llama, mistral, qwen2, qwen3, gpt2 (hedgehog train: also bert, vit, deit), found {}",
       fields.where(), brief(fields.value()["model_type"]));
}

void read_yarn(const JsonFields& scaling, RotaryConfig& rotary) {
  rotary.attention_factor = scaling.number_or("attention_factor", 0, 0, 1e6);
  rotary.beta_fast = scaling.number_or("beta_fast", 32, 1e-6, 1e6);
  rotary.beta_slow = scaling.number_or("beta_slow", 1, 1e-6, 1e6);
  rotary.mscale = scaling.number_or("mscale", 0, 0, 1e6);
  rotary.mscale_all_dim = scaling.number_or("mscale_all_dim", 0, 0, 1e6);
  rotary.truncate = scaling.boolean_or("truncate", true);
}

// LongRoPE (arXiv 2402.13753) where one list of factors serves every length: what a GGUF file's rope_freqs.weight becomes.
void read_longrope(const JsonFields& scaling, std::int64_t head_dim, RotaryConfig& rotary) {
  rotary.attention_factor = scaling.number("attention_factor", 1e-6, 1e6);
  const nlohmann::json& factors = scaling.array("short_factor");
  check(factors == scaling.array("long_factor"), "{}: \"short_factor\" and \"long_factor\" that differ are not supported",
        scaling.where());
  check(static_cast<std::int64_t>(factors.size()) == head_dim / 2, "{}: \"short_factor\" should have {} values, found {}",
        scaling.where(), head_dim / 2, factors.size());
  for (const nlohmann::json& factor : factors) {
    const double value = factor.is_number() ? factor.get<double>() : 0;
    check(std::isfinite(value) && value > 0, "{}: \"short_factor\" should hold positive numbers, found {}", scaling.where(),
          brief(factor));
    rotary.frequency_divisors.push_back(value);
  }
}

// "rope_parameters" (new) or "rope_scaling" (old, may be null), with the base frequency inside or beside it.
RotaryConfig read_rotary(const JsonFields& fields, std::int64_t max_positions, std::int64_t head_dim) {
  RotaryConfig rotary;
  const nlohmann::json empty = nlohmann::json::object();
  const std::string key = fields.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  const JsonFields scaling = fields.has(key) ? fields.object(key) : JsonFields(empty, fields.where());
  for (const char* layer_type : {"full_attention", "sliding_attention"}) {
    check(!scaling.has(layer_type), "{}: a rotary encoding for each layer type is not supported", scaling.where());
  }
  const double outer_theta = fields.number_or("rope_theta", 10000, 1.0001, 1e15);
  rotary.theta = scaling.number_or("rope_theta", outer_theta, 1.0001, 1e15);
  for (const JsonFields& place : {fields, scaling}) {
    check(place.number_or("partial_rotary_factor", 1, 0, 1) == 1, "{}: \"partial_rotary_factor\" other than 1 is not supported",
          place.where());
  }
  const std::string type_key = scaling.has("rope_type") ? "rope_type" : "type";
  rotary.scaling = scaling.text_or(type_key, "default");
  const std::string& type = rotary.scaling;
  check(type == "default" || type == "linear" || type == "llama3" || type == "yarn" || type == "longrope",
        "{}: \"{}\" should be default, linear, llama3, yarn or longrope, found {}", scaling.where(), type_key, brief(type));
  if (type == "llama3" || type == "yarn") {
    const JsonFields& place = fields.has("original_max_position_embeddings") ? fields : scaling;
    rotary.original_max_positions =
        place.integer_or("original_max_position_embeddings", max_positions, 1, std::int64_t{1} << 40);
  }
  if (type == "yarn" && !scaling.has("factor")) {
    rotary.factor = static_cast<double>(max_positions) / static_cast<double>(rotary.original_max_positions);
  } else if (type != "default" && type != "longrope") {
    rotary.factor = scaling.number("factor", 1e-6, 1e9);
  }
  if (type == "yarn") read_yarn(scaling, rotary);
  if (type == "longrope") read_longrope(scaling, head_dim, rotary);
  if (type == "llama3") {
    rotary.low_freq_factor = scaling.number("low_freq_factor", 1e-6, 1e9);
    rotary.high_freq_factor = scaling.number("high_freq_factor", 1e-6, 1e9);
    check(rotary.high_freq_factor > rotary.low_freq_factor, "{}: \"high_freq_factor\" should exceed \"low_freq_factor\"",
          scaling.where());
  }
  return rotary;
}

std::vector<std::int64_t> read_windows(const JsonFields& fields, const std::string& model_type, std::int64_t layers) {
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  std::vector<std::int64_t> windows(static_cast<std::size_t>(layers), 0);
  const bool given_null = fields.value().contains("sliding_window") && !fields.has("sliding_window");
  if (model_type == "llama" || given_null) return windows;
  if (model_type == "mistral") {
    windows.assign(windows.size(), fields.integer_or("sliding_window", 4096, 1, kMost));
    return windows;
  }
  if (!fields.boolean_or("use_sliding_window", false)) return windows;
  const std::int64_t window = fields.integer_or("sliding_window", 4096, 1, kMost);
  if (!fields.has("layer_types")) {
    for (std::int64_t i = fields.integer_or("max_window_layers", 28, 0, kMost); i < layers; ++i) windows[i] = window;
    return windows;
  }
  const nlohmann::json& types = fields.array("layer_types");
  check(types.size() == windows.size(), "{}: \"layer_types\" should have {} entries, found {}", fields.where(), layers,
        types.size());
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const bool sliding = types[i] == "sliding_attention";
    check(sliding || types[i] == "full_attention",
          "{}: \"layer_types\" should hold full_attention or sliding_attention, found {}", fields.where(), brief(types[i]));
    if (sliding) windows[i] = window;
  }
  return windows;
}

}  // namespace

DecoderConfig llama_config(const nlohmann::json& json) {
  const JsonFields fields(json, "config.json");
  const Variant& variant = variant_of(fields);
  check(!fields.has("quantization_config"),
        "{}: \"quantization_config\": the weights are quantized; use a checkpoint that is not, or a GGUF file", fields.where());
  DecoderConfig config;
  config.model_type = variant.model_type;
  config.vocabulary = fields.integer("vocab_size", 1, 1 << 24);
  config.hidden = fields.integer("hidden_size", 1, 1 << 17);
  config.intermediate = fields.integer("intermediate_size", 1, 1 << 20);
  config.layers = fields.integer("num_hidden_layers", 1, 4096);
  config.heads = fields.integer("num_attention_heads", 1, 4096);
  config.kv_heads = fields.integer_or("num_key_value_heads", config.heads, 1, 4096);
  check(config.heads % config.kv_heads == 0,
        "config.json: \"num_attention_heads\" ({}) should be a multiple of \"num_key_value_heads\" ({})", config.heads,
        config.kv_heads);
  if (fields.has("head_dim") || variant.head_dim != 0) {
    config.head_dim = fields.integer_or("head_dim", variant.head_dim, 2, 4096);
  } else {
    check(
        config.hidden % config.heads == 0,
        "config.json: \"hidden_size\" ({}) should be a multiple of \"num_attention_heads\" ({}) when there is no \"head_dim\"",
        config.hidden, config.heads);
    config.head_dim = config.hidden / config.heads;
  }
  check(config.head_dim % 2 == 0 && config.head_dim >= 2,
        "config.json: \"head_dim\" should be even for rotary encoding, found {}", config.head_dim);
  config.max_positions = fields.integer_or("max_position_embeddings", variant.max_positions, 1, std::int64_t{1} << 40);
  config.norm_epsilon = fields.number_or("rms_norm_eps", 1e-6, 0, 1);
  const std::string activation = fields.text_or("hidden_act", "silu");
  check(activation == "silu" || activation == "swish", "config.json: \"hidden_act\" should be silu, found {}",
        brief(activation));

  // Qwen2 always has the bias on q, k, v and never on o; elsewhere "attention_bias" is for all four.
  const bool attention_bias =
      variant.model_type != "mistral" && !variant.qkv_bias && fields.boolean_or("attention_bias", false);
  config.qkv_bias = variant.qkv_bias || attention_bias;
  config.output_bias = attention_bias;
  config.mlp_bias = variant.model_type == "llama" && fields.boolean_or("mlp_bias", false);
  config.qk_norm = variant.qk_norm;
  config.tied_embeddings = fields.boolean_or("tie_word_embeddings", false);
  config.rotary = read_rotary(fields, config.max_positions, config.head_dim);
  config.windows = read_windows(fields, config.model_type, config.layers);
  return config;
}

}  // namespace hedgehog

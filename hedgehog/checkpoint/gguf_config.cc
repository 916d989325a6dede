// The metadata half of gguf_translation.h: a GGUF file's keys as Hugging Face's config.json and as a TokenizerSource.
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/gguf_translation.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <numbers>

namespace hedgehog {
namespace {

// Reads "<architecture>.<key>" and names that key in errors.
class Keys {
 public:
  Keys(const GgufFile& file, std::string architecture) : file_(file), prefix_(std::move(architecture) + ".") {}

  std::optional<std::int64_t> size(const std::string& key) const {
    const auto value = file_.integer(prefix_ + key);
    check(!value || (*value > 0 && *value <= INT32_MAX), "{}: {}{} is {}, expected a positive 32-bit integer", file_.origin(),
          prefix_, key, value.value_or(0));
    return value;
  }
  std::int64_t needed_size(const std::string& key) const {
    const auto value = size(key);
    check(value.has_value(), "{}: has no metadata key {}{}", file_.origin(), prefix_, key);
    return *value;
  }
  std::optional<double> positive(const std::string& key) const {
    const auto value = file_.real(prefix_ + key);
    check(!value || (std::isfinite(*value) && *value > 0), "{}: {}{} is {}, expected a positive number", file_.origin(),
          prefix_, key, value.value_or(0));
    return value;
  }
  std::optional<std::string> string(const std::string& key) const { return file_.string(prefix_ + key); }
  std::string full(const std::string& key) const { return prefix_ + key; }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

struct Architecture {
  std::string_view gguf, model_type, transformers_class;
};

constexpr std::array<Architecture, 3> kArchitectures = {{
    {"llama", "llama", "LlamaForCausalLM"},
    {"qwen2", "qwen2", "Qwen2ForCausalLM"},
    {"qwen3", "qwen3", "Qwen3ForCausalLM"},
}};

// Llama 3's division of each rotary frequency (transformers' "llama3"), with the constants that all its versions have.
double llama3_divisor(double theta, std::int64_t dim, std::int64_t index, double factor) {
  constexpr double kLow = 1, kHigh = 4, kOriginal = 8192;
  const double frequency = std::pow(theta, -2.0 * static_cast<double>(index) / static_cast<double>(dim));
  const double turns = kOriginal * frequency / (2 * std::numbers::pi);
  const double smooth = (turns - kLow) / (kHigh - kLow);
  return turns > kHigh ? 1 : turns < kLow ? factor : 1 / ((1 - smooth) / factor + smooth);
}

void add_rotary_factors(nlohmann::json& config, const GgufFile& file) {
  const std::int64_t dim = config["head_dim"].get<std::int64_t>();
  const at::Tensor factors = file.load_float("rope_freqs.weight", {dim / 2});
  const float* values = factors.data_ptr<float>();
  const std::vector<float> list(values, values + dim / 2);
  for (const float value : list) {
    check(std::isfinite(value) && value > 0, "{}: tensor rope_freqs.weight holds {}, expected positive numbers", file.origin(),
          value);
  }
  const double factor = list.empty() ? 1 : list.back();
  bool is_llama3 = true;
  for (std::int64_t i = 0; i < dim / 2; ++i) {
    const double expected = llama3_divisor(config["rope_theta"].get<double>(), dim, i, factor);
    is_llama3 = is_llama3 && std::abs(list[static_cast<std::size_t>(i)] - expected) <= 1e-4 * expected;
  }
  if (is_llama3) {
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", factor},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 8192}};
  } else {
    config["rope_scaling"] = {
        {"rope_type", "longrope"}, {"short_factor", list},
        {"long_factor", list},     {"factor", 1.0},
        {"attention_factor", 1.0}, {"original_max_position_embeddings", config["max_position_embeddings"]}};
  }
}

void add_rotary_scaling(nlohmann::json& config, const GgufFile& file, const Keys& keys) {
  const std::string type = keys.string("rope.scaling.type").value_or("none");
  if (type == "linear" || type == "yarn") {
    const auto factor = keys.positive("rope.scaling.factor");
    check(factor.has_value(), "{}: has {} {} but no {}", file.origin(), keys.full("rope.scaling.type"), type,
          keys.full("rope.scaling.factor"));
    config["rope_scaling"] = {{"rope_type", type}, {"factor", *factor}};
    if (const auto original = keys.size("rope.scaling.original_context_length"); original && type == "yarn") {
      config["rope_scaling"]["original_max_position_embeddings"] = *original;
    }
  } else {
    check(type == "none", "{}: {} is \"{}\"; none, linear and yarn are known", file.origin(), keys.full("rope.scaling.type"),
          type.substr(0, 64));
    if (const auto linear = keys.positive("rope.scale_linear"); linear && *linear != 1) {
      config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", *linear}};
    }
  }
  check(keys.positive("rope.scaling.attn_factor").value_or(1) == 1, "{}: {} other than 1 is not known", file.origin(),
        keys.full("rope.scaling.attn_factor"));
  if (file.contains("rope_freqs.weight")) {
    check(!config.contains("rope_scaling"), "{}: has both {} and a tensor rope_freqs.weight", file.origin(),
          keys.full("rope.scaling.type"));
    add_rotary_factors(config, file);
  }
}

void add_window(nlohmann::json& config, const Keys& keys) {
  if (const auto window = keys.size("attention.sliding_window")) {
    config["sliding_window"] = *window;
    if (config["model_type"] == "llama") {
      config["model_type"] = "mistral";
      config["architectures"] = {"MistralForCausalLM"};
    } else {
      config["use_sliding_window"] = true;
      config["max_window_layers"] = 0;
    }
  }
}

}  // namespace

nlohmann::json translate_gguf_config(const GgufFile& file) {
  const std::string name = file.string("general.architecture").value_or("");
  const Architecture* architecture = nullptr;
  for (const Architecture& known : kArchitectures) {
    architecture = known.gguf == name ? &known : architecture;
  }
  check(architecture != nullptr, "{}: general.architecture is \"{}\"; llama, qwen2 and qwen3 are known", file.origin(),
        name.substr(0, 64));
  check(file.integer("split.count").value_or(1) <= 1,
        "{}: is one of {} parts of a model: merge them with llama-gguf-split first", file.origin(),
        file.integer("split.count").value_or(0));
  const Keys keys(file, name);
  check(file.integer(keys.full("expert_count")).value_or(0) == 0, "{}: is a mixture of experts, which is not known",
        file.origin());

  nlohmann::json config;
  config["model_type"] = architecture->model_type;
  config["architectures"] = {architecture->transformers_class};
  config["hidden_act"] = "silu";
  const std::int64_t hidden = keys.needed_size("embedding_length");
  const std::int64_t heads = keys.needed_size("attention.head_count");
  config["hidden_size"] = hidden;
  config["intermediate_size"] = keys.needed_size("feed_forward_length");
  config["num_hidden_layers"] = keys.needed_size("block_count");
  config["num_attention_heads"] = heads;
  config["num_key_value_heads"] = keys.size("attention.head_count_kv").value_or(heads);
  config["max_position_embeddings"] = keys.needed_size("context_length");
  const std::int64_t head_dim = keys.size("attention.key_length").value_or(hidden / heads);
  check(head_dim > 0 && head_dim == keys.size("attention.value_length").value_or(head_dim),
        "{}: {} and {} differ, or {} is less than the number of heads", file.origin(), keys.full("attention.key_length"),
        keys.full("attention.value_length"), keys.full("embedding_length"));
  check(keys.size("rope.dimension_count").value_or(head_dim) == head_dim,
        "{}: {} is not the heads' size {}: partial rotary encoding is not known", file.origin(),
        keys.full("rope.dimension_count"), head_dim);
  config["head_dim"] = head_dim;
  const auto epsilon = keys.positive("attention.layer_norm_rms_epsilon");
  check(epsilon.has_value(), "{}: has no metadata key {}", file.origin(), keys.full("attention.layer_norm_rms_epsilon"));
  config["rms_norm_eps"] = *epsilon;
  config["rope_theta"] = keys.positive("rope.freq_base").value_or(10000);
  add_rotary_scaling(config, file, keys);
  add_window(config, keys);

  check(file.contains("token_embd.weight"), "{}: has no tensor token_embd.weight", file.origin());
  for (const TensorInfo& info : file.tensors()) {
    if (info.name == "token_embd.weight") {
      check(info.shape.size() == 2, "{}: tensor {} has shape [{}], expected two dimensions", file.origin(), info.name,
            fmt::join(info.shape, ", "));
      config["vocab_size"] = info.shape[0];
    }
  }
  config["tie_word_embeddings"] = !file.contains("output.weight");
  config["attention_bias"] = file.contains("blk.0.attn_q.bias");
  config["mlp_bias"] = file.contains("blk.0.ffn_up.bias");
  for (const char* token : {"bos", "eos"}) {
    if (const auto id = file.integer(fmt::format("tokenizer.ggml.{}_token_id", token))) {
      config[fmt::format("{}_token_id", token)] = *id;
    }
  }
  return config;
}

TokenizerSource translate_gguf_tokenizer(const GgufFile& file) {
  TokenizerSource source;
  source.tokenizer_config = nlohmann::json::object();
  source.gguf_model = file.string("tokenizer.ggml.model").value_or("");
  source.gguf_pretokenizer = file.string("tokenizer.ggml.pre").value_or("");
  source.gguf_tokens = file.strings("tokenizer.ggml.tokens");
  source.gguf_token_types = file.integers("tokenizer.ggml.token_type");
  if (source.gguf_model == "llama") {
    source.gguf_scores = file.floats("tokenizer.ggml.scores");
  }
  source.gguf_merges = file.strings("tokenizer.ggml.merges");
  const std::size_t count = source.gguf_tokens.size();
  check(source.gguf_token_types.empty() || source.gguf_token_types.size() == count,
        "{}: tokenizer.ggml.token_type has {} elements for {} tokens", file.origin(), source.gguf_token_types.size(), count);
  check(source.gguf_scores.empty() || source.gguf_scores.size() == count,
        "{}: tokenizer.ggml.scores has {} elements for {} tokens", file.origin(), source.gguf_scores.size(), count);
  const auto special = [&](const std::string& gguf_name, const char* config_name) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", gguf_name);
    const auto id = file.integer(key);
    if (id) {
      check(*id >= 0 && (count == 0 || static_cast<std::uint64_t>(*id) < count), "{}: {} is {}, outside the {} tokens",
            file.origin(), key, *id, count);
      if (count > 0) {
        source.tokenizer_config[config_name] = source.gguf_tokens[static_cast<std::size_t>(*id)];
      }
    }
    return id;
  };
  source.bos = special("bos", "bos_token");
  source.eos = special("eos", "eos_token");
  source.unknown = special("unknown", "unk_token");
  source.padding = special("padding", "pad_token");
  for (const char* key : {"add_bos_token", "add_eos_token"}) {
    if (const auto value = file.boolean(fmt::format("tokenizer.ggml.{}", key))) {
      source.tokenizer_config[key] = *value;
    }
  }
  if (const auto value = file.boolean("tokenizer.ggml.add_space_prefix")) {
    source.tokenizer_config["add_prefix_space"] = *value;
  }
  if (const auto text = file.string("tokenizer.chat_template")) {
    source.chat_template = *text;
    source.tokenizer_config["chat_template"] = *text;
  }
  return source;
}

}  // namespace hedgehog

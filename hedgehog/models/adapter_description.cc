// See adapter_description.h.
#include "hedgehog/models/adapter_description.h"

#include "hedgehog/base/error.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/models/decoder_layer.h"
#include "hedgehog/models/json_fields.h"

#include <algorithm>
#include <charconv>

namespace hedgehog {

using nlohmann::json;

namespace {

std::vector<std::int64_t> head_numbers(const JsonFields& fields) {
  std::vector<std::int64_t> heads;
  for (const json& head : fields.array("softmax_heads")) {
    check(head.is_number_integer() && (heads.empty() || heads.back() < head.get<std::int64_t>()),
          "{}: \"softmax_heads\" should be numbers of key/value heads in order, found {}", fields.where(), brief(head));
    heads.push_back(head.get<std::int64_t>());
  }
  return heads;
}

AttentionConfig read_attention(const JsonFields& fields) {
  AttentionConfig config;
  config.kind = attention_kind(fields.text("kind"));
  const bool softmax = config.kind == AttentionKind::kSoftmax;
  config.feature_map = fields.text_or("feature_map", config.feature_map);
  config.feature_dim = fields.integer_or("feature_dim", 0, 0, kMostFeatureDim);
  config.window = fields.integer_or("window", 0, 0, softmax ? std::int64_t{1} << 40 : kMostExactKeys);
  config.sinks = fields.integer_or("sinks", 0, 0, kMostExactKeys);
  config.gate = fields.boolean_or("gate", false);
  config.causal = fields.boolean_or("causal", true);
  if (fields.has("softmax_heads")) config.softmax_heads = head_numbers(fields);
  return config;
}

}  // namespace

json to_json(const AttentionConfig& config) {
  json result = {{"kind", to_string(config.kind)},
                 {"feature_map", config.feature_map},
                 {"feature_dim", config.feature_dim},
                 {"window", config.window},
                 {"sinks", config.sinks},
                 {"gate", config.gate},
                 {"causal", config.causal}};
  if (!config.softmax_heads.empty()) result["softmax_heads"] = config.softmax_heads;
  return result;
}

AttentionConfig attention_config(const json& json) {
  return read_attention(JsonFields(json, "attention"));
}

json describe_architecture(const DecoderConfig& config) {
  return {{"model_type", config.model_type},        {"vocab_size", config.vocabulary},
          {"hidden_size", config.hidden},           {"intermediate_size", config.intermediate},
          {"num_hidden_layers", config.layers},     {"num_attention_heads", config.heads},
          {"num_key_value_heads", config.kv_heads}, {"head_dim", config.head_dim}};
}

void check_architecture(const json& description, const DecoderConfig& config, const std::string& where) {
  const JsonFields fields = JsonFields(description, where).object("architecture");
  const json expected = describe_architecture(config);
  for (const auto& [key, value] : expected.items()) {
    const auto found = fields.value().find(key);
    check(found != fields.value().end() && *found == value,
          "{}: made for another model: \"{}\" is {} there and {} in the base model", fields.where(), key,
          found == fields.value().end() ? "missing" : brief(*found), brief(value));
  }
}

void describe_attention(const Decoder& model, json& description) {
  const std::vector<DecoderLayer>& layers = model.layers();
  const auto converted = std::find_if(layers.begin(), layers.end(), [](const DecoderLayer& layer) {
    return layer.attention.config().kind != AttentionKind::kSoftmax;
  });
  const AttentionConfig common = (converted == layers.end() ? layers.front() : *converted).attention.config();
  description["attention"] = to_json(common);
  json others = json::object();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const AttentionConfig& config = layers[i].attention.config();
    if (!(config == common)) others[std::to_string(i)] = to_json(config);
  }
  description["layer_attention"] = others;
}

std::vector<AttentionConfig> described_attention(const json& description, std::int64_t layers, const std::string& where) {
  const JsonFields fields(description, where);
  const AttentionConfig common = read_attention(fields.object("attention"));
  std::vector<AttentionConfig> result(static_cast<std::size_t>(layers), common);
  if (fields.has("layer_attention")) {
    const JsonFields others = fields.object("layer_attention");
    for (const auto& [key, value] : others.value().items()) {
      std::size_t layer = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), layer);
      check(error == std::errc() && end == key.data() + key.size() && layer < result.size(),
            "{}: \"{}\" is not a layer of a model of {}", others.where(), brief(key), layers);
      result[layer] = read_attention(others.object(key));
    }
  }
  return result;
}

json describe_lora(const Decoder& model) {
  json result = json::object();
  for (const LinearSlot& slot : kLinearSlots) {
    const Linear& first = model.layers().front().*slot.member;
    for (const DecoderLayer& layer : model.layers()) {
      const Linear& linear = layer.*slot.member;
      const bool same =
          linear.lora_a.defined() == first.lora_a.defined() &&
          (!first.lora_a.defined() || (linear.lora_a.size(0) == first.lora_a.size(0) && linear.lora_scale == first.lora_scale));
      check(same, "an adapter holds LoRA of \"{}\" in every layer with one rank and alpha, or in none", slot.name);
    }
    if (!first.lora_a.defined()) continue;
    const std::int64_t rank = first.lora_a.size(0);
    result[slot.name] = {{"rank", rank}, {"alpha", first.lora_scale * static_cast<double>(rank)}};
  }
  return result;
}

std::vector<LoraDescription> described_lora(const json& description, const std::string& where) {
  std::vector<LoraDescription> result;
  const JsonFields fields(description, where);
  if (!fields.has("lora")) return result;
  const JsonFields targets = fields.object("lora");
  for (const auto& [key, value] : targets.value().items()) {
    const bool known = std::any_of(kLinearSlots.begin(), kLinearSlots.end(),
                                   [&key = key](const LinearSlot& slot) { return key == slot.name; });
    check(known, "{}: {} should be q, k, v, o, gate, up or down", targets.where(), brief(key));
    const JsonFields target = targets.object(key);
    result.push_back({key, target.integer("rank", 1, kMostLoraRank), target.number("alpha", -1e6, 1e6)});
  }
  return result;
}

}  // namespace hedgehog

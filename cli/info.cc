// hedgehog info [MODEL]: what a model is made of; without one, the version and the machine.
#include "cli/command.h"
#include "hedgehog/base/error.h"
#include "hedgehog/kernels/attention.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

namespace hedgehog::cli {
namespace {

using json = nlohmann::ordered_json;  // people read it in this order

struct InfoOptions {
  CommonOptions common;
  std::string model;
  bool tensors = false;
};

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.find(':') + 2, line.size()));
  }
  return "unknown";
}

}  // namespace

json machine_fields() {
  const auto memory = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  return {{"processor", processor_name()},    {"isa", kernels::instruction_set()}, {"libtorch_isa", at::get_cpu_capability()},
          {"threads", at::get_num_threads()}, {"bf16_is_fast", bf16_is_fast()},    {"memory_bytes", memory}};
}

namespace {

json architecture_fields(const DecoderConfig& config) {
  return {{"model_type", config.model_type},
          {"layers", config.layers},
          {"hidden", config.hidden},
          {"intermediate", config.intermediate},
          {"heads", config.heads},
          {"kv_heads", config.kv_heads},
          {"head_dim", config.head_dim},
          {"vocabulary", config.vocabulary},
          {"max_positions", config.max_positions},
          {"rope_theta", config.rotary.theta},
          {"rope_scaling", config.rotary.scaling},
          {"tied_embeddings", config.tied_embeddings}};
}

/// The tokenizer, or why there is none: a model without one can still be looked at.
json tokenizer_fields(const TokenizerSource& source) {
  try {
    const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(source);
    json fields = {{"tokens", tokenizer->vocabulary_size()},
                   {"end_tokens", tokenizer->end_tokens()},
                   {"chat_template", !source.chat_template.empty()}};
    if (tokenizer->begin_token()) fields["begin_token"] = *tokenizer->begin_token();
    return fields;
  } catch (const Error& error) {
    return {{"error", error.what()}};
  }
}

json attention_fields(const Decoder& model) {
  json layers = json::array();
  for (const DecoderLayer& layer : model.layers()) layers.emplace_back(to_json(layer.attention.config()));
  return layers;
}

json tensor_fields(const TensorSource& source) {
  json list = json::array();
  for (const TensorInfo& tensor : source.tensors()) {
    list.push_back({{"name", tensor.name}, {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"bytes", tensor.bytes}});
  }
  return list;
}

json model_fields(LoadedModel& loaded, bool tensors) {
  std::int64_t parameters = 0;
  std::uint64_t bytes = 0;
  for (const auto& [name, weight] : loaded.model.weights()) parameters += weight->numel();
  for (const TensorInfo& tensor : loaded.checkpoint.tensors->tensors()) bytes += tensor.bytes;
  json fields = {{"path", loaded.checkpoint.path.string()},
                 {"format", loaded.checkpoint.format},
                 {"parameters", parameters},
                 {"stored_bytes", bytes},
                 {"architecture", architecture_fields(loaded.model.config())},
                 {"tokenizer", tokenizer_fields(loaded.checkpoint.tokenizer)},
                 {"attention", attention_fields(loaded.model)}};
  if (!loaded.hedgehog.is_null()) fields["conversion"] = loaded.hedgehog;
  if (tensors) fields["tensors"] = tensor_fields(*loaded.checkpoint.tensors);
  return fields;
}

std::string text_of(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

/// Nested objects as indented lines: what a person wants of JSON.
void print_fields(const json& object, int indent) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object() && !value.empty()) {
      fmt::print("{:{}}{}\n", "", indent, key);
      print_fields(value, indent + 2);
    } else {
      fmt::print("{:{}}{:<{}} {}\n", "", indent, key, 24 - indent, text_of(value));
    }
  }
}

/// "hybrid, hedgehog-softmax, window 32, sinks 4, gate"; softmax has no other part that counts but a window.
std::string attention_form(const json& layer) {
  std::string form = text_of(layer["kind"]);
  const bool softmax = form == "softmax";
  if (!softmax) form += ", " + text_of(layer["feature_map"]);
  for (const char* key : {"feature_dim", "window", "sinks"}) {
    const auto value = layer.value(key, std::int64_t{0});
    if (value > 0 && (!softmax || key == std::string_view("window"))) form += fmt::format(", {} {}", key, value);
  }
  if (!softmax && layer.value("gate", false)) form += ", gate";
  if (layer.contains("softmax_heads")) {
    form +=
        fmt::format(", key/value heads {} softmax", fmt::join(layer["softmax_heads"].get<std::vector<std::int64_t>>(), ", "));
  }
  return form;
}

/// Neighbouring layers of one form share a line.
void print_attention(const json& layers) {
  fmt::print("attention\n");
  for (std::size_t first = 0; first < layers.size();) {
    std::size_t last = first;
    while (last + 1 < layers.size() && layers[last + 1] == layers[first]) ++last;
    const std::string name = first == last ? fmt::format("layer {}", first) : fmt::format("layers {}-{}", first, last);
    fmt::print("  {:<22} {}\n", name, attention_form(layers[first]));
    first = last + 1;
  }
}

void print_tensors(const json& tensors) {
  fmt::print("tensors\n");
  for (const json& tensor : tensors) {
    fmt::print("  {:<56} {:<6} {:<18} {:>12}\n", text_of(tensor["name"]), text_of(tensor["dtype"]), tensor["shape"].dump(),
               tensor["bytes"].get<std::uint64_t>());
  }
}

void print_text(json fields) {
  json attention, tensors;
  for (auto& [name, list] : {std::pair<const char*, json*>{"attention", &attention}, {"tensors", &tensors}}) {
    if (!fields.contains(name)) continue;
    *list = fields[name];
    fields.erase(name);
  }
  print_fields(fields, 0);
  if (!attention.is_null()) print_attention(attention);
  if (!tensors.is_null()) print_tensors(tensors);
}

void run_info(const InfoOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  json fields = {{"version", HEDGEHOG_VERSION}, {"machine", machine_fields()}};
  if (!options.model.empty()) {
    LoadedModel loaded = load_model(options.model, at::kBFloat16);  // the smaller dtype: only sizes are looked at
    fields.update(model_fields(loaded, options.tensors));
  }
  if (!options.common.json) return print_text(std::move(fields));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  print_json("info", options.model, options.common, seconds, fields);
}

}  // namespace

void add_info(CLI::App& program) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* verb = program.add_subcommand("info", "Say what a model is made of; without one, the version and the machine");
  verb->add_option("model", options->model, "a checkpoint, an adapter or an exported directory")->type_name("MODEL");
  verb->add_flag("--tensors", options->tensors, "list every tensor as it is stored");
  add_common_options(*verb, options->common);
  verb->callback([options] { run_info(*options); });
}

}  // namespace hedgehog::cli

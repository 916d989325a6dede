#include "cli/model_data.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <algorithm>

namespace hedgehog::cli {

Corpus measured_corpus(const LoadedModel& loaded, const std::vector<std::filesystem::path>& data, std::int64_t limit_tokens) {
  const TokenizerSource& source = loaded.checkpoint.tokenizer;
  return read_corpus(data, *make_tokenizer(source), limit_tokens, source.chat_template);
}

bool is_export(const LoadedModel& loaded) {
  return loaded.checkpoint.config.contains("hedgehog");
}

bool has_full_weights(const LoadedModel& loaded) {
  return loaded.hedgehog.is_object() && loaded.hedgehog.value("full_weights", false);
}

std::vector<Attention*> attentions_of(Decoder& model) {
  std::vector<Attention*> attentions;
  for (DecoderLayer& layer : model.layers()) attentions.push_back(&layer.attention);
  return attentions;
}

bool has_linear_part(const Decoder& model) {
  return std::any_of(model.layers().begin(), model.layers().end(),
                     [](const DecoderLayer& layer) { return layer.attention.config().kind != AttentionKind::kSoftmax; });
}

std::int64_t hybrid_window(const Decoder& model) {
  std::int64_t window = 0;
  for (const DecoderLayer& layer : model.layers()) {
    const AttentionConfig& config = layer.attention.config();
    if (config.kind == AttentionKind::kHybrid) window = std::max(window, config.window);
  }
  return window;
}

Decoder base_model(const LoadedModel& loaded, at::ScalarType dtype) {
  if (!is_export(loaded)) {
    // An adapter's checkpoint is its base. Its weights are shared unless the adapter has replaced them, or merged LoRA into
    // them.
    const bool replaced =
        has_full_weights(loaded) || (loaded.hedgehog.is_object() && !loaded.hedgehog.value("lora", nlohmann::json()).empty());
    return replaced ? Decoder(loaded.checkpoint, dtype) : loaded.model.teacher();
  }
  nlohmann::json description = loaded.hedgehog;
  std::string from = loaded.checkpoint.path.string();
  for (int exports = 0; exports < 32; ++exports) {
    const nlohmann::json base = description.value("base", nlohmann::json::object());
    const std::string path = base.is_object() ? base.value("path", "") : "";
    check(!path.empty(), "{} does not name the model that it was made from", from);
    check(std::filesystem::exists(path), "the base model {} of {} is not there", path, from);
    check(checkpoint_sha256(path) == base.value("sha256", ""), "{} is no longer the model that {} was made from", path, from);
    LoadedModel next = load_model(path, dtype);
    if (!has_linear_part(next.model)) return next.model;
    description = std::move(next.hedgehog);
    from = path;
  }
  fail("{}: more than 32 exports lie between it and a softmax model", loaded.checkpoint.path.string());
}

}  // namespace hedgehog::cli

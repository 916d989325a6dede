#include "cli/model_data.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/tokenizer.h"

namespace hedgehog::cli {

Corpus measured_corpus(const LoadedModel& loaded, const std::vector<std::filesystem::path>& data, std::int64_t limit_tokens) {
  const TokenizerSource& source = loaded.checkpoint.tokenizer;
  return read_corpus(data, *make_tokenizer(source), limit_tokens, source.chat_template);
}

Llama base_model(const LoadedModel& loaded, at::ScalarType dtype) {
  const bool exported = loaded.checkpoint.config.contains("hedgehog");
  if (!exported) {
    // An adapter's checkpoint is its base. Its weights are shared unless the adapter has replaced them.
    return loaded.hedgehog.value("full_weights", false) ? Llama(loaded.checkpoint, dtype) : loaded.model.teacher();
  }
  const nlohmann::json base = loaded.hedgehog.value("base", nlohmann::json::object());
  const std::string path = base.is_object() ? base.value("path", "") : "";
  check(!path.empty(), "{} does not name the model that it was made from", loaded.checkpoint.path.string());
  check(std::filesystem::exists(path), "the base model {} is not there", path);
  check(checkpoint_sha256(path) == base.value("sha256", ""), "{} is no longer the model that {} was made from", path,
        loaded.checkpoint.path.string());
  return Llama(open_checkpoint(path), dtype);
}

}  // namespace hedgehog::cli

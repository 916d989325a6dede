// A GGUF file in Hugging Face's terms: metadata as config.json, tensors by their Hugging Face names and row order.
// llama.cpp's converter reorders the rows of q and k of the architecture "llama" so that rotary pairs lie side by side; loading
// puts them back into halves: row (h, 2i + j) of the file is row (h, j·d/2 + i) of the model.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/checkpoint/gguf.h"

#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hedgehog {

/// "blk.3.attn_q.weight" to "model.layers.3.self_attn.q_proj.weight"; a name that is not known stays as it is.
std::string translate_tensor_name(std::string_view gguf_name);

/// config.json of the file's model: model_type "llama", "mistral" (a llama with a sliding window), "qwen2" or "qwen3".
/// A tensor rope_freqs.weight becomes "rope_scaling" of type "llama3" if that formula gives its factors, else "longrope" with
/// the factors as they are.
/// Throws Error that names the key for an unknown architecture, a missing or senseless value.
nlohmann::json translate_gguf_config(const GgufFile& file);

/// tokenizer.ggml.* and tokenizer.chat_template. Throws Error for an id outside the vocabulary.
TokenizerSource translate_gguf_tokenizer(const GgufFile& file);

class TranslatedGguf : public TensorSource {
 public:
  /// `config` as translate_gguf_config gives it.
  TranslatedGguf(std::shared_ptr<const GgufFile> file, const nlohmann::json& config);

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  bool contains(const std::string& name) const override { return index_.contains(name); }
  at::Tensor load(const std::string& name) const override;
  std::string origin() const override { return file_->origin(); }

 private:
  std::shared_ptr<const GgufFile> file_;
  std::vector<TensorInfo> tensors_;                          // as in the file, under other names
  std::unordered_map<std::string_view, std::size_t> index_;  // name to position in both lists
  bool rows_reordered_ = false;
  std::int64_t heads_ = 0, kv_heads_ = 0;
};

}  // namespace hedgehog

#include "hedgehog/inference/self_text_cache.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/sha256.h"
#include "hedgehog/checkpoint/safetensors.h"

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <span>
#include <system_error>
#include <vector>

namespace hedgehog {
namespace {

// To be raised when the same model and config come to give another text.
constexpr int kVersion = 2;

template <typename Value>
std::vector<Value> values(const at::Tensor& tensor) {
  const Value* data = tensor.const_data_ptr<Value>();
  return {data, data + tensor.numel()};
}

bool is_sound(const Corpus& corpus, std::int64_t vocabulary) {
  const auto& starts = corpus.document_starts;
  return !corpus.tokens.empty() && !starts.empty() && starts.front() == 0 && starts.back() < std::ssize(corpus.tokens) &&
         std::adjacent_find(starts.begin(), starts.end(), std::greater_equal<>()) == starts.end() &&
         std::all_of(corpus.tokens.begin(), corpus.tokens.end(),
                     [&](std::int32_t token) { return token >= 0 && token < vocabulary; });
}

}  // namespace

SelfTextCache::SelfTextCache(const std::filesystem::path& folder, const std::string& model_sha256,
                             const SelfTextConfig& config) {
  const nlohmann::json json = {{"version", kVersion},   {"tokens", config.tokens},           {"length", config.length},
                               {"batch", config.batch}, {"temperature", config.temperature}, {"top_p", config.top_p},
                               {"seed", config.seed}};
  metadata_ = {{"model_sha256", model_sha256}, {"config", json.dump()}};
  Sha256 hash;
  for (const auto& [key, value] : metadata_) {
    hash.update(std::as_bytes(std::span(value)));
  }
  path_ = folder / fmt::format("self-text-{}.safetensors", hash.hexadecimal().substr(0, 16));
}

std::optional<WrittenText> SelfTextCache::read(std::int64_t vocabulary) const {
  std::error_code ignored;
  if (!std::filesystem::exists(path_, ignored)) {
    return std::nullopt;
  }
  try {
    const SafetensorsFile file(path_);
    const at::Tensor tokens = file.load("tokens"), starts = file.load("document_starts"), documents = file.load("documents");
    if (file.metadata() != metadata_ || tokens.scalar_type() != at::kInt || starts.scalar_type() != at::kLong ||
        documents.scalar_type() != at::kLong || documents.numel() != 1) {
      return std::nullopt;
    }
    WrittenText text;
    text.corpus.tokens = values<std::int32_t>(tokens);
    text.corpus.document_starts = values<std::int64_t>(starts);
    text.documents = values<std::int64_t>(documents).front();
    const bool sound = is_sound(text.corpus, vocabulary) && text.documents >= std::ssize(text.corpus.document_starts);
    return sound ? std::optional(std::move(text)) : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;  // damaged: it is written anew
  }
}

void SelfTextCache::write(const WrittenText& text) const {
  std::error_code error;
  std::filesystem::create_directories(path_.parent_path(), error);
  check(!error, "{}: cannot be made: {}", path_.parent_path().string(), error.message());
  write_safetensors(path_,
                    {{"tokens", at::tensor(text.corpus.tokens, at::kInt)},
                     {"document_starts", at::tensor(text.corpus.document_starts, at::kLong)},
                     {"documents", at::tensor({text.documents}, at::kLong)}},
                    metadata_);
}

}  // namespace hedgehog

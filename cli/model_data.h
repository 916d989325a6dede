// What verbs that measure a model share: the text that they measure on, and the model that a conversion came from.
#pragma once

#include "hedgehog/data/corpus.h"
#include "hedgehog/models/adapter.h"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace hedgehog::cli {

/// --data as the model's tokenizer sees it. `limit_tokens` 0: all.
Corpus measured_corpus(const LoadedModel& loaded, const std::vector<std::filesystem::path>& data, std::int64_t limit_tokens);

/// Whether it is a directory that was exported, itself or below an adapter.
bool is_export(const LoadedModel& loaded);

/// Whether it is an adapter that replaces all of its base's weights.
bool has_full_weights(const LoadedModel& loaded);

/// One a layer.
std::vector<Attention*> attentions_of(Decoder& model);

/// Whether any layer's attention is not softmax: a converted model.
bool has_linear_part(const Decoder& model);

/// The exact keys of the model's hybrid layers; 0 where it has none.
std::int64_t hybrid_window(const Decoder& model);

/// The softmax model that `loaded` was made from, through as many exports as lie between. Throws Error when the base of one is
/// not where it was, or another now.
Decoder base_model(const LoadedModel& loaded, at::ScalarType dtype);

}  // namespace hedgehog::cli

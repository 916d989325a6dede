// Which layers and key/value heads of a converted model are worth their memory as softmax, or with a longer window: measured on
// a text, one change at a time.
#pragma once

#include "hedgehog/analysis/context_memory.h"
#include "hedgehog/base/progress.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/models/decoder.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace hedgehog {

struct LayerChange {
  KeptSoftmax what;
  std::int64_t window = 0;  // of the hybrid that the layer becomes; 0: softmax
  double loss = 0;          // of the model with this change and all before it, nats a token
  std::int64_t bytes = 0;   // that it keeps then
};

/// Layers put back to softmax without a measurement, for comparison: as many as have the memory of the changes, or more.
struct UniformChoice {
  std::string name;  // "every n-th", "last"
  std::vector<std::int64_t> layers;
  double loss = 0;
  std::int64_t bytes = 0;
};

struct KeptLayers {
  double loss = 0;  // of the model before the changes
  std::int64_t bytes = 0;
  std::vector<LayerChange> changes;    // in the order in which they were chosen
  std::vector<UniformChoice> uniform;  // beside them all; none where a window is among them
};
nlohmann::json to_json(const KeptLayers& kept);
/// Throws Error for JSON that to_json() did not write.
KeptLayers kept_layers(const nlohmann::json& json);

struct KeptLayersConfig {
  MemoryBudget budget;
  std::int64_t tokens = 2048, window = 512;  // of the text that it is measured on, in windows
  int rounds = 2;                            // every candidate is measured anew in each
  bool heads = true;                         // key/value heads by themselves, too
};

/// Greedily, the change that lowers the loss most for each byte, as long as one lowers it and fits: a layer, or one of its
/// key/value heads, becomes softmax, or, of a hybrid, a layer's window four or sixteen times as long. For one model the FLOPs
/// of a token's decoding grow with the same bytes. In each round all changes are measured by themselves on the model as it then
/// is, heads in the third of the layers that gains most as a whole, and the best are made. `model` is not changed. Throws Error
/// if the budget is less than what the model keeps as it is.
KeptLayers choose_kept_layers(const Decoder& model, const Corpus& corpus, const KeptLayersConfig& config, Progress& progress);

/// Makes the changes; weights stay. Throws Error for a layer that is not there.
void change_layers(Decoder& model, const KeptLayers& kept);
/// The layer, or a head of it, as softmax (window 0), or the layer with another window; weights that stay in use are kept.
void change_layer(Decoder& model, const KeptSoftmax& what, std::int64_t window);

}  // namespace hedgehog

#include "hedgehog/analysis/fidelity.h"

#include "hedgehog/analysis/layer_fidelity.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/evaluation/windows.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>

namespace hedgehog {
namespace {

/// `windows`: softmax's in each layer (Mistral); empty: none has one.
std::vector<LayerFidelity> layers_of(const std::vector<Attention*>& attentions, const std::vector<std::int64_t>& windows) {
  std::vector<LayerFidelity> layers;
  for (std::size_t i = 0; i < attentions.size(); ++i)
    layers.emplace_back(static_cast<std::int64_t>(i), *attentions[i], windows.empty() ? 0 : windows[i]);
  return layers;
}

std::vector<HeadFidelity> heads_of(const std::vector<LayerFidelity>& layers) {
  std::vector<HeadFidelity> result;
  for (const LayerFidelity& layer : layers) {
    const std::vector<HeadFidelity> heads = layer.heads();
    result.insert(result.end(), heads.begin(), heads.end());
  }
  return result;
}

}  // namespace

std::vector<HeadFidelity> fidelity(const Decoder& model, const Corpus& corpus, std::int64_t sequences, std::int64_t length,
                                   Progress& progress) {
  check(sequences >= 1, "fidelity needs at least 1 sequence, found {}", sequences);
  const at::NoGradGuard no_gradients;
  Decoder shared = model;
  std::vector<Attention*> attentions;
  for (DecoderLayer& layer : shared.layers()) attentions.push_back(&layer.attention);
  std::vector<LayerFidelity> layers = layers_of(attentions, model.config().windows);
  const std::vector<WindowBatch> batches = cut_windows(corpus, length, sequences * length, 1);
  progress.begin("inspecting", std::ssize(batches) * std::ssize(attentions));
  std::int64_t done = 0;
  for (const WindowBatch& batch : batches) {
    model.forward_visiting(batch.tokens, batch.segment_start, true, [&](std::int64_t layer, const AttentionInput& input) {
      if (interrupted()) throw Interrupted{};
      layers[static_cast<std::size_t>(layer)].add(input);
      progress.update(++done, "");
    });
  }
  progress.end();
  return heads_of(layers);
}

std::vector<HeadFidelity> fidelity(Classifier& model, const Examples& examples, std::int64_t count, std::int64_t batch,
                                   Progress& progress) {
  count = std::min(count, examples.size());
  check(count >= 1 && batch >= 1, "fidelity needs at least 1 example, found {}", count);
  const at::NoGradGuard no_gradients;
  const std::vector<Attention*> attentions = model.attentions();
  std::vector<LayerFidelity> layers = layers_of(attentions, {});
  progress.begin("inspecting", count);
  for (std::int64_t first = 0; first < count; first += batch) {
    if (interrupted()) throw Interrupted{};
    std::vector<std::int64_t> rows(static_cast<std::size_t>(std::min(batch, count - first)));
    std::iota(rows.begin(), rows.end(), first);
    model.visit_teacher(examples.batch(rows).input, [&](std::int64_t layer, const AttentionInput& input) {
      layers[static_cast<std::size_t>(layer)].add(input);
    });
    progress.update(first + std::ssize(rows), "");
  }
  progress.end();
  return heads_of(layers);
}

}  // namespace hedgehog

#include "hedgehog/analysis/attention_maps.h"

#include "hedgehog/analysis/layer_fidelity.h"
#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace hedgehog {
namespace {

constexpr double kBytesOfOne = 127;

std::int8_t to_byte(double weight) {
  const double size = std::round(kBytesOfOne * std::sqrt(std::min(std::abs(weight), 1.0)));
  return static_cast<std::int8_t>(weight < 0 ? -size : size);
}

std::vector<std::int8_t> to_bytes(const at::Tensor& weights, bool causal) {  // fp64 [rows, keys], contiguous
  std::vector<std::int8_t> bytes;
  const std::int64_t keys = weights.size(1);
  for (std::int64_t row = 0; row < weights.size(0); ++row) {
    const double* const values = weights.const_data_ptr<double>() + row * keys;
    for (std::int64_t key = 0; key < (causal ? row + 1 : keys); ++key) bytes.push_back(to_byte(values[key]));
  }
  return bytes;
}

std::vector<double> entropies(const at::Tensor& weights) {
  const at::Tensor logs = weights.clamp_min(std::numeric_limits<float>::min()).log();
  const at::Tensor sums = (weights * logs).sum(-1).neg().contiguous();
  return {sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + sums.numel()};
}

/// Appends a layer's heads, of a batch's first sequence.
void add_layer(AttentionMaps& maps, std::int64_t layer, const Attention& attention, std::int64_t softmax_window,
               const AttentionInput& input) {
  maps.causal = attention.config().causal;
  std::vector<std::int64_t> rows(static_cast<std::size_t>(std::min(maps.tokens, input.q.size(2))));
  std::iota(rows.begin(), rows.end(), 0);
  const at::Tensor softmax =
      operator_weights(attention.with_config(softmax_like(attention, softmax_window)).operator_input(input), rows).weights;
  const at::Tensor linear = attention_weights(attention, input, rows).weights;
  for (std::int64_t head = 0; head < softmax.size(1); ++head) {
    const at::Tensor p = softmax[0][head], a = linear[0][head];
    const auto shown = [&](const at::Tensor& x) { return x.narrow(1, 0, std::ssize(rows)).contiguous(); };
    maps.heads.push_back(
        {layer, head, to_bytes(shown(p), maps.causal), to_bytes(shown(a), maps.causal), entropies(p), entropies(a)});
  }
}

std::string base64(const std::vector<std::int8_t>& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

}  // namespace

AttentionMaps attention_maps(const Decoder& model, std::span<const std::int32_t> tokens) {
  check(!tokens.empty(), "attention maps need at least 1 token");
  const at::NoGradGuard no_gradients;
  Decoder shared = model;
  AttentionMaps maps;
  maps.tokens = std::ssize(tokens);
  const at::Tensor ids = at::tensor(at::ArrayRef<std::int32_t>(tokens.data(), tokens.size()), at::kLong).unsqueeze(0);
  model.forward_visiting(ids, {}, true, [&](std::int64_t layer, const AttentionInput& input) {
    const auto index = static_cast<std::size_t>(layer);
    add_layer(maps, layer, shared.layers()[index].attention, model.config().windows[index], input);
  });
  return maps;
}

AttentionMaps attention_maps(Classifier& model, const ClassifierInput& example, std::int64_t most) {
  const at::NoGradGuard no_gradients;
  const std::vector<Attention*> attentions = model.attentions();
  AttentionMaps maps;
  maps.tokens = most;
  model.visit_teacher(example, [&](std::int64_t layer, const AttentionInput& input) {
    maps.tokens = std::min(most, input.q.size(2));
    add_layer(maps, layer, *attentions[static_cast<std::size_t>(layer)], /*softmax_window=*/0, input);
  });
  return maps;
}

nlohmann::json to_json(const AttentionMaps& maps, const std::vector<std::string>& labels) {
  nlohmann::json heads = nlohmann::json::array();
  for (const HeadMap& head : maps.heads) {
    heads.push_back({{"softmax", base64(head.softmax)},
                     {"linear", base64(head.linear)},
                     {"entropy_softmax", head.entropy_softmax},
                     {"entropy_linear", head.entropy_linear}});
  }
  return {{"causal", maps.causal}, {"labels", labels}, {"heads", std::move(heads)}};
}

}  // namespace hedgehog

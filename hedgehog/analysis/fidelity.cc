#include "hedgehog/analysis/fidelity.h"

#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/evaluation/correlation.h"
#include "hedgehog/evaluation/windows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::int64_t kRows = 128;     // query rows of a sequence whose weights are looked at
constexpr std::int64_t kRankRows = 16;  // of these, rows that are ranked: sorting costs more than all the rest

/// Sums over rows, per head. The rows are counted once for all heads.
struct LayerSums {
  std::vector<HeadFidelity> heads;
  std::vector<double> error, norm;
  double rows = 0;
  std::int64_t ranked_rows = 0;
};

/// `count` of the positions 0..length−1 with equal steps, the last one among them.
std::vector<std::int64_t> spread(std::int64_t length, std::int64_t count) {
  count = std::min(count, length);
  std::vector<std::int64_t> rows(count);
  for (std::int64_t i = 0; i < count; ++i) rows[i] = (i + 1) * length / count - 1;
  return rows;
}

/// −Σ_j w_j log u_j per row; u below the smallest float counts as that: a feature map that gives 0 must not make the mean
/// infinite.
at::Tensor cross_entropy(const at::Tensor& w, const at::Tensor& u) {
  return -(w * u.clamp_min(std::numeric_limits<float>::min()).log()).sum(-1);
}

/// The keys that a row sees: [first, end).
std::pair<std::int64_t, std::int64_t> seen_keys(const AttentionInput& input, bool causal, std::int64_t batch,
                                                std::int64_t row) {
  const std::int64_t first = input.segment_start.defined() ? input.segment_start[batch][row].item<std::int32_t>() : 0;
  if (causal) return {first, row + 1};
  const std::int64_t length = input.k.size(2);
  return {first, input.key_count.defined() ? input.key_count[batch].item<std::int64_t>() : length};
}

/// Spearman of the weights with q·k over the keys that a row sees, for some of the rows; a row of fewer than three keys says
/// nothing.
void add_monotonicity(LayerSums& sums, const AttentionInput& input, bool causal, const at::Tensor& weights,
                      const std::vector<std::int64_t>& rows) {
  const std::int64_t heads = input.q.size(1), group = heads / input.k.size(1);
  const std::vector<std::int64_t> ranked = spread(static_cast<std::int64_t>(rows.size()), kRankRows);
  for (std::int64_t batch = 0; batch < input.q.size(0); ++batch) {
    for (const std::int64_t r : ranked) {
      const std::int64_t row = rows[r];
      const auto [first, end] = seen_keys(input, causal, batch, row);
      const std::int64_t keys = end - first;
      if (keys < 3 || row >= end) continue;
      const at::Tensor k = input.k[batch].narrow(1, first, keys).to(at::kDouble);              // [G, keys, D]
      const at::Tensor q = input.q[batch].select(1, row).to(at::kDouble);                      // [H, D]
      const at::Tensor scores = at::matmul(k, q.view({-1, group, q.size(1)}).transpose(1, 2))  // [G, keys, H/G]
                                    .transpose(1, 2)
                                    .reshape({heads, keys})
                                    .contiguous();
      const at::Tensor w = weights[batch].select(1, r).narrow(1, first, keys).contiguous();  // [H, keys]
      at::parallel_for(0, heads, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t head = begin; head < end; ++head) {
          const auto size = static_cast<std::size_t>(keys);
          sums.heads[head].monotonicity +=
              spearman({w.const_data_ptr<double>() + head * keys, size}, {scores.const_data_ptr<double>() + head * keys, size});
        }
      });
      ++sums.ranked_rows;
    }
  }
}

void add_layer(LayerSums& sums, const Attention& teacher, const Attention& attention, const AttentionInput& input) {
  const std::int64_t heads = input.q.size(1), group = heads / input.k.size(1);
  const std::vector<std::int64_t> rows = spread(input.q.size(2), kRows);
  const at::Tensor p = operator_weights(teacher.operator_input(input), rows).weights;  // fp64 [batch, heads, rows, length]
  const auto [a, linear_part] = operator_weights(attention.operator_input(input), rows);
  // Rows of padding are no rows.
  at::Tensor counts = at::ones({input.q.size(0), 1, std::ssize(rows)}, at::kDouble);
  if (input.key_count.defined()) {
    const auto position = at::tensor(rows, at::kLong);
    counts = position.lt(input.key_count.to(at::kLong).unsqueeze(-1)).unsqueeze(1).to(at::kDouble);
  }
  // [batch, heads, rows] to [heads]
  const auto per_head = [&](const at::Tensor& x) { return (x * counts).sum(at::IntArrayRef{0, 2}); };
  const at::Tensor entropy_softmax = per_head(cross_entropy(p, p)), entropy_linear = per_head(cross_entropy(a, a));
  const at::Tensor crossed = per_head(cross_entropy(p, a)), share = per_head(linear_part);
  const at::Tensor v = input.v.to(at::kDouble).repeat_interleave(group, 1);
  const at::Tensor y = at::matmul(p, v);
  const at::Tensor error = per_head((at::matmul(a, v) - y).square().sum(-1)), norm = per_head(y.square().sum(-1));
  for (std::int64_t head = 0; head < heads; ++head) {
    HeadFidelity& sum = sums.heads[head];
    sum.entropy_softmax += entropy_softmax[head].item<double>();
    sum.entropy_linear += entropy_linear[head].item<double>();
    sum.kl += (crossed[head] - entropy_softmax[head]).item<double>();
    sum.linear_share += share[head].item<double>();
    sums.error[head] += error[head].item<double>();
    sums.norm[head] += norm[head].item<double>();
  }
  sums.rows += counts.sum().item<double>();
  add_monotonicity(sums, input, attention.config().causal, a, rows);
}

// Room for the heads of every layer, and softmax attention of their shape.
struct Sums {
  std::vector<LayerSums> layers;
  std::vector<Attention> teachers;

  Sums(const std::vector<Attention*>& attentions, const std::vector<std::int64_t>& windows) : layers(attentions.size()) {
    for (std::size_t layer = 0; layer < attentions.size(); ++layer) {
      AttentionConfig softmax;
      softmax.causal = attentions[layer]->config().causal;
      if (layer < windows.size()) softmax.window = windows[layer];
      teachers.push_back(attentions[layer]->with_config(softmax));
    }
  }
  void add(std::int64_t layer, const Attention& attention, const AttentionInput& input) {
    LayerSums& sums = layers[static_cast<std::size_t>(layer)];
    if (sums.heads.empty()) {
      const std::int64_t heads = input.q.size(1);
      sums.heads.resize(heads);
      sums.error.resize(heads);
      sums.norm.resize(heads);
      for (std::int64_t head = 0; head < heads; ++head) {
        sums.heads[head].layer = layer;
        sums.heads[head].head = head;
      }
    }
    add_layer(sums, teachers[static_cast<std::size_t>(layer)], attention, input);
  }
};

std::vector<HeadFidelity> means(const std::vector<LayerSums>& layers) {
  std::vector<HeadFidelity> result;
  for (const LayerSums& sums : layers) {
    const double rows = sums.rows;
    for (std::size_t head = 0; head < sums.heads.size(); ++head) {
      HeadFidelity mean = sums.heads[head];
      for (double* value : {&mean.entropy_softmax, &mean.entropy_linear, &mean.kl, &mean.linear_share}) *value /= rows;
      mean.monotonicity /= static_cast<double>(std::max<std::int64_t>(sums.ranked_rows, 1));
      mean.output_error = sums.norm[head] > 0 ? sums.error[head] / sums.norm[head] : 0.0;
      result.push_back(mean);
    }
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
  Sums sums(attentions, model.config().windows);
  const std::vector<WindowBatch> batches = cut_windows(corpus, length, sequences * length, 1);
  progress.begin("inspecting", std::ssize(batches) * std::ssize(attentions));
  std::int64_t done = 0;
  for (const WindowBatch& batch : batches) {
    model.forward_visiting(batch.tokens, batch.segment_start, true, [&](std::int64_t layer, const AttentionInput& input) {
      if (interrupted()) throw Interrupted{};
      sums.add(layer, *attentions[static_cast<std::size_t>(layer)], input);
      progress.update(++done, "");
    });
  }
  progress.end();
  return means(sums.layers);
}

std::vector<HeadFidelity> fidelity(Classifier& model, const Examples& examples, std::int64_t count, std::int64_t batch,
                                   Progress& progress) {
  count = std::min(count, examples.size());
  check(count >= 1 && batch >= 1, "fidelity needs at least 1 example, found {}", count);
  const at::NoGradGuard no_gradients;
  const std::vector<Attention*> attentions = model.attentions();
  Sums sums(attentions, {});
  progress.begin("inspecting", count);
  for (std::int64_t first = 0; first < count; first += batch) {
    if (interrupted()) throw Interrupted{};
    std::vector<std::int64_t> rows(static_cast<std::size_t>(std::min(batch, count - first)));
    std::iota(rows.begin(), rows.end(), first);
    model.visit_teacher(examples.batch(rows).input, [&](std::int64_t layer, const AttentionInput& input) {
      sums.add(layer, *attentions[static_cast<std::size_t>(layer)], input);
    });
    progress.update(first + std::ssize(rows), "");
  }
  progress.end();
  return means(sums.layers);
}

HeadFidelity mean_over_heads(const std::vector<HeadFidelity>& heads) {
  HeadFidelity mean;
  const double share = 1.0 / static_cast<double>(std::max<std::size_t>(heads.size(), 1));
  for (const HeadFidelity& head : heads) {
    mean.entropy_softmax += share * head.entropy_softmax;
    mean.entropy_linear += share * head.entropy_linear;
    mean.kl += share * head.kl;
    mean.monotonicity += share * head.monotonicity;
    mean.linear_share += share * head.linear_share;
    mean.output_error += share * head.output_error;
  }
  return mean;
}

nlohmann::json to_json(const HeadFidelity& head) {
  return {
      {"entropy_softmax", head.entropy_softmax}, {"entropy_linear", head.entropy_linear}, {"kl", head.kl},
      {"monotonicity", head.monotonicity},       {"linear_share", head.linear_share},     {"output_error", head.output_error}};
}

nlohmann::json to_json(const std::vector<HeadFidelity>& heads) {
  nlohmann::json list = nlohmann::json::array();
  for (const HeadFidelity& head : heads) {
    list.push_back(to_json(head));
    list.back()["layer"] = head.layer;
    list.back()["head"] = head.head;
  }
  return list;
}

}  // namespace hedgehog

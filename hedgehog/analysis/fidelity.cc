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

namespace hedgehog {
namespace {

constexpr std::int64_t kRows = 128;     // query rows of a sequence whose weights are looked at
constexpr std::int64_t kRankRows = 16;  // of these, rows that are ranked: sorting costs more than all the rest

/// Sums over rows, per head. The rows are counted once for all heads.
struct LayerSums {
  std::vector<HeadFidelity> heads;
  std::vector<double> error, norm;
  std::int64_t rows = 0, ranked_rows = 0;
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

/// Spearman of the weights with q·k over the keys that a row sees, for some of the rows; a row of fewer than three keys says
/// nothing.
void add_monotonicity(LayerSums& sums, const AttentionInput& input, const at::Tensor& weights,
                      const std::vector<std::int64_t>& rows) {
  const std::int64_t heads = input.q.size(1), group = heads / input.k.size(1);
  const std::vector<std::int64_t> ranked = spread(static_cast<std::int64_t>(rows.size()), kRankRows);
  for (std::int64_t batch = 0; batch < input.q.size(0); ++batch) {
    for (const std::int64_t r : ranked) {
      const std::int64_t row = rows[r];
      const std::int64_t first = input.segment_start.defined() ? input.segment_start[batch][row].item<std::int32_t>() : 0;
      const std::int64_t keys = row + 1 - first;
      if (keys < 3) continue;
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
  const auto per_head = [](const at::Tensor& x) { return x.sum(at::IntArrayRef{0, 2}); };  // [batch, heads, rows] to [heads]
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
  sums.rows += input.q.size(0) * static_cast<std::int64_t>(rows.size());
  add_monotonicity(sums, input, a, rows);
}

std::vector<HeadFidelity> means(const std::vector<LayerSums>& layers) {
  std::vector<HeadFidelity> result;
  for (const LayerSums& sums : layers) {
    const auto rows = static_cast<double>(sums.rows);
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

std::vector<HeadFidelity> fidelity(const Llama& model, const Corpus& corpus, std::int64_t sequences, std::int64_t length,
                                   Progress& progress) {
  check(sequences >= 1, "fidelity needs at least 1 sequence, found {}", sequences);
  const at::NoGradGuard no_gradients;
  const LlamaConfig& config = model.config();
  std::vector<LayerSums> layers(config.layers);
  std::vector<Attention> teachers;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    LayerSums& sums = layers[layer];
    sums.heads.resize(config.heads);
    sums.error.resize(config.heads);
    sums.norm.resize(config.heads);
    for (std::int64_t head = 0; head < config.heads; ++head) {
      sums.heads[head].layer = layer;
      sums.heads[head].head = head;
    }
    AttentionConfig softmax;
    softmax.window = config.windows.empty() ? 0 : config.windows[layer];
    teachers.emplace_back(softmax, config.heads, config.kv_heads, config.head_dim, config.hidden);
  }

  const std::vector<WindowBatch> batches = cut_windows(corpus, length, sequences * length, 1);
  progress.begin("inspecting", static_cast<std::int64_t>(batches.size()) * config.layers);
  std::int64_t done = 0;
  for (const WindowBatch& batch : batches) {
    model.forward_visiting(batch.tokens, batch.segment_start, true, [&](std::int64_t layer, const AttentionInput& input) {
      if (interrupted()) throw Interrupted{};
      add_layer(layers[layer], teachers[layer], model.layers()[layer].attention, input);
      progress.update(++done, "");
    });
  }
  progress.end();
  return means(layers);
}

}  // namespace hedgehog

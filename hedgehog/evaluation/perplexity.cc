#include "hedgehog/evaluation/perplexity.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/evaluation/confidence_interval.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <vector>

namespace hedgehog {
namespace {

constexpr std::int64_t kBlockRows = 256;  // rows of logits that exist at a time

// Of a window's scored tokens, Σ −log p(target).
struct WindowLoss {
  double model = 0, teacher = 0, tokens = 0;

  WindowLoss& operator+=(const WindowLoss& other) {
    model += other.model;
    teacher += other.teacher;
    tokens += other.tokens;
    return *this;
  }
  double perplexity() const { return std::exp(model / std::max(tokens, 1.0)); }
  double ratio() const { return std::exp((model - teacher) / std::max(tokens, 1.0)); }
};

struct Sums {
  std::vector<WindowLoss> windows;
  WindowLoss all;
  double kl = 0;
  std::int64_t agreements = 0, state_bytes = 0;
};

at::Tensor scored_rows(const WindowBatch& batch, const at::Tensor& hidden) {
  return hidden.flatten(0, 1).index_select(0, batch.rows);
}

at::Tensor hidden_states(const Decoder& model, const WindowBatch& batch) {
  return model.forward(batch.tokens, batch.segment_start);
}

/// The same by the recurrent form.
at::Tensor hidden_states_token_by_token(const Decoder& model, const WindowBatch& batch, at::ScalarType state, Sums& sums) {
  check(!batch.segment_start.defined(),
        "token by token, a window cannot cross a document's border: join the texts in one file");
  std::vector<AttentionState> states(model.layers().size());
  for (AttentionState& one : states) one.dtype = state;
  std::vector<at::Tensor> rows;
  for (std::int64_t i = 0; i < batch.tokens.size(1); ++i) {
    if (interrupted()) throw Interrupted{};
    rows.push_back(model.continue_from(states, batch.tokens.narrow(1, i, 1)));
  }
  std::int64_t bytes = 0;
  for (const AttentionState& one : states) bytes += one.bytes();
  sums.state_bytes = std::max(sums.state_bytes, bytes / batch.tokens.size(0));
  return at::cat(rows, 1);
}

double total(const at::Tensor& x) {
  return x.sum(at::kDouble).item<double>();
}

/// −log p(target) of the rows from `first` on, fp32 [rows].
at::Tensor losses(const at::Tensor& log_p, const WindowBatch& batch, std::int64_t first) {
  return -log_p.gather(1, batch.targets.narrow(0, first, log_p.size(0)).unsqueeze(1)).squeeze(1);
}

void add_windows(Sums& sums, const WindowBatch& batch, const at::Tensor& model, const at::Tensor& teacher) {
  const at::Tensor window = batch.rows.div(batch.tokens.size(1), "floor");
  const auto by_window = [&](const at::Tensor& x) {
    return at::zeros({batch.tokens.size(0)}, at::kDouble).index_add_(0, window, x.to(at::kDouble));
  };
  const at::Tensor of_model = by_window(model), of_teacher = by_window(teacher), tokens = by_window(at::ones_like(model));
  for (std::int64_t i = 0; i < batch.tokens.size(0); ++i) {
    sums.windows.push_back({of_model[i].item<double>(), of_teacher[i].item<double>(), tokens[i].item<double>()});
    sums.all += sums.windows.back();
  }
}

void add_batch(Sums& sums, const Decoder& model, const Decoder* teacher, const WindowBatch& batch,
               std::optional<at::ScalarType> state) {
  if (batch.rows.numel() == 0) return;
  const at::Tensor all = state ? hidden_states_token_by_token(model, batch, *state, sums) : hidden_states(model, batch);
  const std::int64_t rows = batch.rows.numel();
  const at::Tensor of_model = at::empty({rows}, at::kFloat), of_teacher = at::zeros({rows}, at::kFloat);
  const at::Tensor hidden = scored_rows(batch, all);
  const at::Tensor teacher_hidden = teacher == nullptr ? at::Tensor() : scored_rows(batch, hidden_states(*teacher, batch));
  for (std::int64_t first = 0; first < rows; first += kBlockRows) {
    const std::int64_t count = std::min(kBlockRows, rows - first);
    const at::Tensor log_q = at::log_softmax(model.logits(hidden.narrow(0, first, count)), 1, at::kFloat);
    of_model.narrow(0, first, count).copy_(losses(log_q, batch, first));
    if (teacher == nullptr) continue;
    const at::Tensor log_p = at::log_softmax(teacher->logits(teacher_hidden.narrow(0, first, count)), 1, at::kFloat);
    of_teacher.narrow(0, first, count).copy_(losses(log_p, batch, first));
    sums.agreements += log_p.argmax(1).eq(log_q.argmax(1)).sum().item<std::int64_t>();
    sums.kl += total((log_p - log_q).mul_(log_p.exp()).sum(1));
  }
  add_windows(sums, batch, of_model, of_teacher);
}

Perplexity measure(const Decoder& model, const std::vector<WindowBatch>& batches, Progress& progress, std::string_view stage,
                   const Decoder* teacher, std::optional<at::ScalarType> state = {}) {
  const at::NoGradGuard no_gradients;
  std::int64_t windows = 0, done = 0;
  for (const WindowBatch& batch : batches) windows += batch.tokens.size(0);
  progress.begin(stage, windows);
  Sums sums;
  for (const WindowBatch& batch : batches) {
    if (interrupted()) throw Interrupted{};
    add_batch(sums, model, teacher, batch, state);
    done += batch.tokens.size(0);
    progress.update(done, fmt::format("perplexity {:.2f}", sums.all.perplexity()));
  }
  progress.end();
  check(sums.all.tokens > 0, "no token of the corpus can be scored: every document is one token long");

  Perplexity result;
  result.perplexity = sums.all.perplexity();
  result.tokens = static_cast<std::int64_t>(sums.all.tokens);
  if (state) result.state_bytes = sums.state_bytes;
  if (teacher != nullptr) {
    result.softmax_perplexity = std::exp(sums.all.teacher / sums.all.tokens);
    result.kl_to_softmax = sums.kl / sums.all.tokens;
    result.top1_agreement = static_cast<double>(sums.agreements) / sums.all.tokens;
  }
  if (sums.windows.size() > 1) {
    const std::vector<double> half_widths = bootstrap_half_widths(sums.windows.size(), [&](std::span<const std::size_t> drawn) {
      WindowLoss sum;
      for (const std::size_t i : drawn) sum += sums.windows[i];
      return std::vector{sum.perplexity(), sum.ratio()};
    });
    result.half_interval = half_widths[0];
    if (teacher != nullptr) result.ratio_half_interval = half_widths[1];
  }
  return result;
}

/// Leaves the model as it was, also when a measurement throws.
class ControlGuard {
 public:
  explicit ControlGuard(Decoder& model) : model_(model), before_(model.control) {}
  ~ControlGuard() { model_.control = before_; }
  ControlGuard(const ControlGuard&) = delete;
  ControlGuard& operator=(const ControlGuard&) = delete;

 private:
  Decoder& model_;
  AttentionControl before_;
};

}  // namespace

double negative_log_likelihood(const Decoder& model, const WindowBatch& batch, const at::Tensor& hidden) {
  const at::NoGradGuard no_gradients;
  const at::Tensor scored = scored_rows(batch, hidden);
  double sum = 0;
  for (std::int64_t first = 0; first < scored.size(0); first += kBlockRows) {
    const std::int64_t count = std::min(kBlockRows, scored.size(0) - first);
    sum += total(losses(at::log_softmax(model.logits(scored.narrow(0, first, count)), 1, at::kFloat), batch, first));
  }
  return sum;
}

Perplexity perplexity(const Decoder& model, const Corpus& corpus, const PerplexityConfig& config, Progress& progress,
                      const Decoder* teacher) {
  check(teacher == nullptr || teacher->config().vocabulary == model.config().vocabulary,
        "the teacher's vocabulary has {} tokens, the model's {}", teacher == nullptr ? 0 : teacher->config().vocabulary,
        model.config().vocabulary);
  return measure(model, cut_windows(corpus, config.window, config.limit_tokens, config.batch), progress, "evaluating", teacher,
                 config.state);
}

Controls controls(Decoder& model, const Corpus& corpus, const PerplexityConfig& config, Progress& progress) {
  const std::vector<WindowBatch> batches = cut_windows(corpus, config.window, config.limit_tokens, config.batch);
  const ControlGuard guard(model);
  const auto without = [&](AttentionControl control, std::string_view stage) {
    model.control = control;
    return measure(model, batches, progress, stage, nullptr).perplexity;
  };
  Controls result;
  result.linear_removed = without(AttentionControl::kLinearRemoved, "control: linear part removed");
  result.window_removed = without(AttentionControl::kWindowRemoved, "control: window removed");
  result.no_attention = without(AttentionControl::kNoAttention, "control: no attention");
  return result;
}

}  // namespace hedgehog

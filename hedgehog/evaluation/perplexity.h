// Perplexity, divergence from the softmax teacher, and the controls that say whether the linear part is alive.
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/evaluation/windows.h"
#include "hedgehog/models/decoder.h"

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>

namespace hedgehog {

struct PerplexityConfig {
  std::int64_t window = 512;      // tokens; windows don't overlap; all but each window's first token are scored
  std::int64_t limit_tokens = 0;  // of the corpus, 0: all
  std::int64_t batch = 4;         // windows at a time
  std::optional<at::ScalarType> state =
      {};  // token by token, the linear state kept so (AttentionState::dtype); none: in one pass
};

struct Perplexity {
  double perplexity = 0;
  std::optional<double> half_interval;        // half of its 95 % interval over the windows (bootstrap); none of a single one
  std::int64_t tokens = 0;                    // scored
  std::optional<double> softmax_perplexity;   // the teacher's own, over the same tokens
  std::optional<double> ratio_half_interval;  // as half_interval, of perplexity ÷ softmax_perplexity
  std::optional<double> kl_to_softmax;        // mean KL(softmax teacher ‖ model) over scored tokens
  std::optional<double> top1_agreement;       // share of scored tokens where both have the same first choice
  std::optional<std::int64_t> state_bytes;    // of one window at its end, where it was read token by token
};

/// With a `teacher`, also softmax_perplexity, and kl_to_softmax and top1_agreement against it. Logits exist a block of rows at
/// a time. Throws Error for a corpus with nothing to score and, token by token, for windows that cross a document's border;
/// Interrupted when a signal came.
Perplexity perplexity(const Decoder& model, const Corpus& corpus, const PerplexityConfig& config, Progress& progress,
                      const Decoder* teacher = nullptr);

/// Σ −log p(target) of a batch's scored tokens, from forward()'s hidden states [batch, length, hidden].
double negative_log_likelihood(const Decoder& model, const WindowBatch& batch, const at::Tensor& hidden);

/// The model's perplexity with parts of its attention left out (AttentionControl), nothing retrained.
struct Controls {
  double linear_removed = 0, window_removed = 0, no_attention = 0;
};
Controls controls(Decoder& model, const Corpus& corpus, const PerplexityConfig& config, Progress& progress);

}  // namespace hedgehog

#include "hedgehog/analysis/kept_layers.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/evaluation/perplexity.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::int64_t kLongerWindows[] = {4, 16};  // times the window that a hybrid has
constexpr std::size_t kShareOfHeads = 3;            // heads are tried in one of so many layers

/// A change that might be made.
struct Candidate {
  KeptSoftmax what;
  std::int64_t window = 0, bytes = 0;  // bytes: more than now
  double loss = 0, gain = 0;           // gain: what it lowers the loss by, for each byte
};

bool more_gain(const Candidate& a, const Candidate& b) {
  return a.gain > b.gain;
}

class Chooser {
 public:
  Chooser(const Decoder& model, const Corpus& corpus, const KeptLayersConfig& config, Progress& progress)
      : original_(model),
        model_(model),
        batches_(cut_windows(corpus, config.window, config.tokens, 4)),
        config_(config),
        progress_(progress) {
    for (const WindowBatch& batch : batches_) targets_ += static_cast<double>(batch.targets.numel());
    check(targets_ > 0, "no token of the text can be scored: every document is one token long");
  }

  KeptLayers choose() {
    kept_.bytes = context_bytes(model_, config_.budget.tokens);
    check(kept_.bytes <= config_.budget.bytes, "a memory of {} bytes at {} tokens: the model without softmax keeps {} already",
          config_.budget.bytes, config_.budget.tokens, kept_.bytes);
    kept_.loss = loss_ = loss_of(model_);
    bytes_ = kept_.bytes;
    for (int round = 0; round < config_.rounds; ++round) {
      if (!choose_round(round)) break;
    }
    measure_uniform();
    return kept_;
  }

 private:
  std::vector<DecoderPass> begin_passes() const {
    std::vector<DecoderPass> passes;
    for (const WindowBatch& batch : batches_) passes.push_back(model_.begin_pass(batch.tokens, batch.segment_start));
    return passes;
  }

  // Of `model`, whose layers before `first` are what they are where the passes stand.
  double loss_from(const Decoder& model, std::vector<DecoderPass> passes, std::int64_t first) const {
    double sum = 0;
    for (std::size_t i = 0; i < batches_.size(); ++i) {
      if (interrupted()) throw Interrupted{};
      model.run_layers(passes[i], first, model.config().layers);
      sum += negative_log_likelihood(model, batches_[i], model.end_pass(passes[i]));
    }
    return sum / targets_;
  }

  double loss_of(const Decoder& model) const { return loss_from(model, begin_passes(), 0); }

  void measure_uniform() {
    const bool all_softmax =
        std::all_of(kept_.changes.begin(), kept_.changes.end(), [](const auto& c) { return c.window == 0; });
    if (kept_.changes.empty() || !all_softmax) return;
    const std::int64_t layers = original_.config().layers;
    Decoder one = original_;
    change_layer(one, {layers - 1}, 0);
    const std::int64_t layer_bytes = bytes_of(one, layers - 1) - bytes_of(original_, layers - 1);
    const std::int64_t count = std::clamp<std::int64_t>((bytes_ - kept_.bytes + layer_bytes - 1) / layer_bytes, 1, layers);
    std::vector<UniformChoice> choices(2);
    choices[0].name = "every n-th";
    choices[1].name = "last";
    for (std::int64_t i = 0; i < count; ++i) {
      choices[0].layers.push_back((i + 1) * layers / count - 1);
      choices[1].layers.push_back(layers - count + i);
    }
    for (UniformChoice& choice : choices) {
      Decoder changed = original_;
      for (const std::int64_t layer : choice.layers) change_layer(changed, {layer}, 0);
      choice.loss = loss_of(changed);
      choice.bytes = context_bytes(changed, config_.budget.tokens);
      kept_.uniform.push_back(std::move(choice));
    }
  }

  std::int64_t bytes_of(const Decoder& model, std::int64_t layer) const {
    return context_bytes(model.layers()[static_cast<std::size_t>(layer)].attention, model.config(), config_.budget.tokens,
                         model.dtype());
  }

  void consider(std::vector<Candidate>& candidates, const KeptSoftmax& what, std::int64_t window) const {
    Decoder changed = model_;
    change_layer(changed, what, window);
    const std::int64_t bytes = bytes_of(changed, what.layer) - bytes_of(model_, what.layer);
    if (bytes > 0) candidates.push_back({what, window, bytes});
  }

  // Changes of a whole layer: softmax or longer windows.
  std::vector<Candidate> of_layer(std::int64_t layer) const {
    const AttentionConfig& now = model_.layers()[static_cast<std::size_t>(layer)].attention.config();
    std::vector<Candidate> result;
    if (now.kind == AttentionKind::kSoftmax) return result;
    consider(result, {layer}, 0);
    if (now.kind == AttentionKind::kHybrid) {
      for (const std::int64_t times : kLongerWindows) {
        if (times * now.window < config_.budget.tokens) consider(result, {layer}, times * now.window);
      }
    }
    return result;
  }

  std::vector<Candidate> of_heads(std::int64_t layer) const {
    const DecoderConfig& shape = model_.config();
    const auto& kept = model_.layers()[static_cast<std::size_t>(layer)].attention.config().softmax_heads;
    std::vector<Candidate> result;
    if (shape.kv_heads - std::ssize(kept) < 2 || shape.windows[static_cast<std::size_t>(layer)] > 0) return result;
    for (std::int64_t head = 0; head < shape.kv_heads; ++head) {
      if (std::find(kept.begin(), kept.end(), head) == kept.end()) consider(result, {layer, head}, 0);
    }
    return result;
  }

  // With their losses: the layers before a change are run once for all that come after it.
  std::vector<Candidate> measured(const std::vector<Candidate>& candidates, const std::string& stage) const {
    std::vector<Candidate> result = candidates;
    progress_.begin(stage, std::ssize(result));
    std::vector<DecoderPass> passes = begin_passes();
    std::int64_t done = 0, reached = 0;
    for (Candidate& candidate : result) {
      for (DecoderPass& pass : passes) model_.run_layers(pass, reached, candidate.what.layer);
      reached = candidate.what.layer;
      Decoder changed = model_;
      change_layer(changed, candidate.what, candidate.window);
      candidate.loss = loss_from(changed, passes, reached);
      candidate.gain = (loss_ - candidate.loss) / static_cast<double>(candidate.bytes);
      progress_.update(++done, fmt::format("{}: loss {:.3f}", to_string(candidate.what), candidate.loss));
    }
    progress_.end();
    return result;
  }

  // All changes, measured; heads only of the layers whose own softmax lowers the loss most: there are many heads.
  std::vector<Candidate> measured_changes(const std::string& stage) const {
    std::vector<Candidate> changes;
    for (std::int64_t layer = 0; layer < model_.config().layers; ++layer) {
      const std::vector<Candidate> more = of_layer(layer);
      changes.insert(changes.end(), more.begin(), more.end());
    }
    changes = measured(changes, stage + ": layers");
    if (!config_.heads) return changes;
    std::vector<Candidate> layers;
    std::copy_if(changes.begin(), changes.end(), std::back_inserter(layers), [](const Candidate& c) { return c.window == 0; });
    std::stable_sort(layers.begin(), layers.end(), more_gain);
    layers.resize((layers.size() + kShareOfHeads - 1) / kShareOfHeads);
    std::sort(layers.begin(), layers.end(), [](const Candidate& a, const Candidate& b) { return a.what < b.what; });
    std::vector<Candidate> heads;
    for (const Candidate& layer : layers) {
      const std::vector<Candidate> more = of_heads(layer.what.layer);
      heads.insert(heads.end(), more.begin(), more.end());
    }
    heads = measured(heads, stage + ": heads");
    changes.insert(changes.end(), heads.begin(), heads.end());
    return changes;
  }

  // Whether any change was made.
  bool choose_round(int round) {
    const std::string stage = fmt::format("what to keep, {} of {}", round + 1, config_.rounds);
    std::vector<Candidate> all = measured_changes(stage);
    std::stable_sort(all.begin(), all.end(), more_gain);
    // The last round may spend all that is left, the others their share of it.
    const std::int64_t limit = bytes_ + (config_.budget.bytes - bytes_) / (config_.rounds - round);
    std::vector<KeptSoftmax> changed;
    progress_.begin(stage + ": together", std::ssize(all));
    std::int64_t done = 0;
    for (const Candidate& candidate : all) {
      progress_.update(done++, fmt::format("loss {:.3f}", loss_));
      if (candidate.gain <= 0 || (!changed.empty() && bytes_ >= limit)) break;
      const bool fits = bytes_ + candidate.bytes <= config_.budget.bytes;
      // Heads of one layer go together; a whole layer and a part of it do not.
      const bool free = std::none_of(changed.begin(), changed.end(), [&](const KeptSoftmax& other) {
        return other.layer == candidate.what.layer && (other.head < 0 || candidate.what.head < 0);
      });
      if (fits && free && make(candidate)) changed.push_back(candidate.what);
    }
    progress_.end();
    return !changed.empty();
  }

  // Gains do not add up: what no longer lowers the loss beside the others is left out.
  bool make(const Candidate& candidate) {
    Decoder changed = model_;
    change_layer(changed, candidate.what, candidate.window);
    const double loss = loss_of(changed);
    if (loss >= loss_) return false;
    model_ = std::move(changed);
    loss_ = loss;
    bytes_ = context_bytes(model_, config_.budget.tokens);
    kept_.changes.push_back({candidate.what, candidate.window, loss_, bytes_});
    return true;
  }

  const Decoder& original_;
  Decoder model_;  // a copy, changed on the way
  const std::vector<WindowBatch> batches_;
  double targets_ = 0;
  const KeptLayersConfig& config_;
  Progress& progress_;
  KeptLayers kept_;
  double loss_ = 0;
  std::int64_t bytes_ = 0;
};

}  // namespace

nlohmann::json to_json(const KeptLayers& kept) {
  nlohmann::json changes = nlohmann::json::array();
  for (const LayerChange& change : kept.changes) {
    changes.push_back(
        {{"what", to_string(change.what)}, {"window", change.window}, {"loss", change.loss}, {"bytes", change.bytes}});
  }
  nlohmann::json uniform = nlohmann::json::array();
  for (const UniformChoice& choice : kept.uniform) {
    uniform.push_back({{"name", choice.name}, {"layers", choice.layers}, {"loss", choice.loss}, {"bytes", choice.bytes}});
  }
  return {{"loss", kept.loss}, {"bytes", kept.bytes}, {"changes", changes}, {"uniform", uniform}};
}

KeptLayers kept_layers(const nlohmann::json& json) try {
  KeptLayers kept{json.at("loss").get<double>(), json.at("bytes").get<std::int64_t>(), {}, {}};
  for (const nlohmann::json& change : json.at("changes")) {
    kept.changes.push_back({kept_softmax(change.at("what").get<std::string>()), change.at("window").get<std::int64_t>(),
                            change.at("loss").get<double>(), change.at("bytes").get<std::int64_t>()});
  }
  for (const nlohmann::json& choice : json.at("uniform")) {
    kept.uniform.push_back({choice.at("name").get<std::string>(), choice.at("layers").get<std::vector<std::int64_t>>(),
                            choice.at("loss").get<double>(), choice.at("bytes").get<std::int64_t>()});
  }
  return kept;
} catch (const nlohmann::json::exception& error) {
  fail("the list of kept layers is damaged: {}", error.what());
}

KeptLayers choose_kept_layers(const Decoder& model, const Corpus& corpus, const KeptLayersConfig& config, Progress& progress) {
  return Chooser(model, corpus, config, progress).choose();
}

void change_layers(Decoder& model, const KeptLayers& kept) {
  for (const LayerChange& change : kept.changes) change_layer(model, change.what, change.window);
}

void change_layer(Decoder& model, const KeptSoftmax& what, std::int64_t window) {
  const DecoderConfig& shape = model.config();
  check_kept(what, shape.layers, shape.kv_heads);
  const auto layer = static_cast<std::size_t>(what.layer);
  Attention& attention = model.layers()[layer].attention;
  AttentionConfig config = attention.config();
  if (window > 0) {
    config.window = window;
  } else {
    check(what.head < 0 || shape.windows[layer] == 0,
          "layer {}: has a window of its own in this model; keep softmax in all of its heads", what.layer);
    config = with_softmax_head(config, what.head, shape.kv_heads);
    if (config.kind == AttentionKind::kSoftmax) config.window = shape.windows[layer];
  }
  attention = reconfigured(attention, config);
}

}  // namespace hedgehog

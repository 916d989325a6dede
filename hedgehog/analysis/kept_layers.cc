#include "hedgehog/analysis/kept_layers.h"

#include "hedgehog/analysis/layer_fidelity.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/evaluation/perplexity.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::int64_t kLongerWindows[] = {4, 16};  // times the window that a hybrid has

/// A whole number with one of the units behind it.
std::int64_t number_with_unit(std::string_view text, const std::vector<std::pair<std::string_view, std::int64_t>>& units,
                              const std::string& whole) {
  std::int64_t number = 0;
  const auto [rest, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  const auto found = std::find_if(units.begin(), units.end(), [&](const auto& each) { return each.first == unit; });
  check(problem == std::errc() && number > 0 && found != units.end() && number <= (std::int64_t{1} << 50) / found->second,
        "memory: expected bytes at a number of tokens such as 64MiB@32k, found '{}'", whole);
  return number * found->second;
}

std::int64_t softmax_window(const DecoderConfig& model, std::int64_t layer) {
  const auto index = static_cast<std::size_t>(layer);
  return index < model.windows.size() ? model.windows[index] : 0;
}

/// A change that might be made.
struct Candidate {
  std::int64_t layer = 0, window = 0, bytes = 0;  // bytes: more than now
  double loss = 0;
};

class Chooser {
 public:
  Chooser(const Decoder& model, const Corpus& corpus, const KeptLayersConfig& config, Progress& progress)
      : original_(model), model_(model), corpus_(corpus), config_(config), progress_(progress) {}

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
  double loss_of(const Decoder& model) const {
    if (interrupted()) throw Interrupted{};
    Progress silent;
    return std::log(perplexity(model, corpus_, {config_.window, config_.tokens, 4}, silent).perplexity);
  }

  void measure_uniform() {
    const auto count = std::ssize(kept_.changes), layers = original_.config().layers;
    const bool all_softmax =
        std::all_of(kept_.changes.begin(), kept_.changes.end(), [](const auto& c) { return c.window == 0; });
    if (count == 0 || !all_softmax) return;
    std::vector<UniformChoice> choices(2);
    choices[0].name = "every n-th";
    choices[1].name = "last";
    for (std::int64_t i = 0; i < count; ++i) {
      choices[0].layers.push_back((i + 1) * layers / count - 1);
      choices[1].layers.push_back(layers - count + i);
    }
    for (UniformChoice& choice : choices) {
      Decoder changed = original_;
      for (const std::int64_t layer : choice.layers) change_layer(changed, layer, 0);
      choice.loss = loss_of(changed);
      choice.bytes = context_bytes(changed, config_.budget.tokens);
      kept_.uniform.push_back(std::move(choice));
    }
  }

  std::int64_t bytes_of(const Decoder& model, std::int64_t layer) const {
    return context_bytes(model.layers()[static_cast<std::size_t>(layer)].attention, model.config(), config_.budget.tokens,
                         model.dtype());
  }

  std::vector<Candidate> candidates() const {
    std::vector<Candidate> result;
    for (std::int64_t layer = 0; layer < model_.config().layers; ++layer) {
      const Attention& now = model_.layers()[static_cast<std::size_t>(layer)].attention;
      if (now.config().kind == AttentionKind::kSoftmax) continue;
      std::vector<std::int64_t> windows = {0};
      if (now.config().kind == AttentionKind::kHybrid) {
        for (const std::int64_t times : kLongerWindows) windows.push_back(times * now.config().window);
      }
      for (const std::int64_t window : windows) {
        if (window >= config_.budget.tokens) continue;
        Decoder changed = model_;
        change_layer(changed, layer, window);
        const std::int64_t bytes = bytes_of(changed, layer) - bytes_of(model_, layer);
        if (bytes > 0 && bytes_ + bytes <= config_.budget.bytes) result.push_back({layer, window, bytes, 0});
      }
    }
    return result;
  }

  // Whether any change was made.
  bool choose_round(int round) {
    std::vector<Candidate> all = candidates();
    if (all.empty()) return false;
    progress_.begin(fmt::format("which layers to keep, {} of {}", round + 1, config_.rounds), std::ssize(all));
    for (std::size_t i = 0; i < all.size(); ++i) {
      Decoder changed = model_;
      change_layer(changed, all[i].layer, all[i].window);
      all[i].loss = loss_of(changed);
      progress_.update(static_cast<std::int64_t>(i + 1), fmt::format("layer {}: loss {:.3f}", all[i].layer, all[i].loss));
    }
    progress_.end();
    const double before = loss_;
    const auto gain = [&](const Candidate& c) { return (before - c.loss) / static_cast<double>(c.bytes); };
    std::stable_sort(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) { return gain(a) > gain(b); });
    // The last round may spend all that is left, the others their share of it.
    const std::int64_t limit = bytes_ + (config_.budget.bytes - bytes_) / (config_.rounds - round);
    std::set<std::int64_t> changed;
    for (const Candidate& candidate : all) {
      if (gain(candidate) <= 0 || (!changed.empty() && bytes_ >= limit)) break;
      const bool fits = bytes_ + candidate.bytes <= config_.budget.bytes;
      if (fits && !changed.contains(candidate.layer) && make(candidate)) changed.insert(candidate.layer);
    }
    return !changed.empty();
  }

  // Gains do not add up: what no longer lowers the loss beside the others is left out.
  bool make(const Candidate& candidate) {
    Decoder changed = model_;
    change_layer(changed, candidate.layer, candidate.window);
    const double loss = loss_of(changed);
    if (loss >= loss_) return false;
    model_ = std::move(changed);
    loss_ = loss;
    bytes_ += candidate.bytes;
    kept_.changes.push_back({candidate.layer, candidate.window, loss_, bytes_});
    return true;
  }

  const Decoder& original_;
  Decoder model_;  // a copy, changed on the way
  const Corpus& corpus_;
  const KeptLayersConfig& config_;
  Progress& progress_;
  KeptLayers kept_;
  double loss_ = 0;
  std::int64_t bytes_ = 0;
};

}  // namespace

MemoryBudget memory_budget(const std::string& text) {
  const std::size_t at = std::min(text.find('@'), text.size());
  const std::string_view bytes = std::string_view(text).substr(0, at),
                         tokens = std::string_view(text).substr(std::min(at + 1, text.size()));
  const std::vector<std::pair<std::string_view, std::int64_t>> units = {
      {"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1'000}, {"MB", 1'000'000}, {"GB", 1'000'000'000}};
  return {number_with_unit(bytes, units, text), number_with_unit(tokens, {{"", 1}, {"k", 1 << 10}}, text)};
}

std::int64_t context_bytes(const Attention& attention, const DecoderConfig& model, std::int64_t tokens, at::ScalarType dtype) {
  const AttentionConfig& config = attention.config();
  if (config.kind == AttentionKind::kSoftmax) {
    const std::int64_t rows = config.window > 0 ? std::min(config.window, tokens) : tokens;
    return 2 * model.kv_heads * model.head_dim * rows * static_cast<std::int64_t>(at::elementSize(dtype));
  }
  // All else is of fixed size, once its window is full.
  const std::int64_t rows = std::min(tokens, config.window + config.sinks + 1);
  const auto zeros = [&](std::int64_t heads) { return at::zeros({1, heads, rows, model.head_dim}, dtype); };
  AttentionState state;
  attention.continue_from(
      state, {zeros(model.heads), zeros(model.kv_heads), zeros(model.kv_heads), at::zeros({1, rows, model.hidden}, dtype), {}});
  return state.bytes();
}

std::int64_t context_bytes(const Decoder& model, std::int64_t tokens) {
  std::int64_t bytes = 0;
  for (const DecoderLayer& layer : model.layers())
    bytes += context_bytes(layer.attention, model.config(), tokens, model.dtype());
  return bytes;
}

nlohmann::json to_json(const KeptLayers& kept) {
  nlohmann::json changes = nlohmann::json::array();
  for (const LayerChange& change : kept.changes) {
    changes.push_back({{"layer", change.layer}, {"window", change.window}, {"loss", change.loss}, {"bytes", change.bytes}});
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
    kept.changes.push_back({change.at("layer").get<std::int64_t>(), change.at("window").get<std::int64_t>(),
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
  for (const LayerChange& change : kept.changes) change_layer(model, change.layer, change.window);
}

void change_layer(Decoder& model, std::int64_t layer, std::int64_t window) {
  check(layer >= 0 && layer < model.config().layers, "layers that keep softmax should be from 0 to {}, found {}",
        model.config().layers - 1, layer);
  Attention& attention = model.layers()[static_cast<std::size_t>(layer)].attention;
  AttentionConfig config = attention.config();
  if (window == 0) {
    config = softmax_like(attention, softmax_window(model.config(), layer));
  } else {
    config.window = window;
  }
  Attention changed = attention.with_config(config);
  const auto weights = attention.parameters();
  if (window > 0) {
    const auto places = changed.parameters();
    for (std::size_t i = 0; i < places.size(); ++i) *places[i].second = *weights[i].second;
  }
  attention = std::move(changed);
}

}  // namespace hedgehog

#include "hedgehog/analysis/kept_heads.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/training/classification.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::size_t kShareOfLayers = 3;  // heads are tried in one of so many layers

void keep(Classifier& model, const KeptSoftmax& what) {
  const std::vector<Attention*> attentions = model.attentions();
  Attention* const first = attentions.front();
  check_kept(what, std::ssize(attentions), first->kv_heads());
  Attention& attention = *attentions[static_cast<std::size_t>(what.layer)];
  attention = reconfigured(attention, with_softmax_head(attention.config(), what.head, attention.kv_heads()));
}

bool nearer(const KeptHead& a, const KeptHead& b) {
  return a.distance < b.distance;
}

class HeadChooser {
 public:
  HeadChooser(Classifier& model, const Examples& examples, const KeptHeadsConfig& config, Progress& progress)
      : model_(model), config_(config), progress_(progress) {
    const std::unique_ptr<Classifier> teacher = model.teacher();
    const std::int64_t count = std::min(config.examples, examples.size());
    for (std::int64_t first = 0; first < count; first += config.batch) {
      std::vector<std::int64_t> rows(static_cast<std::size_t>(std::min(config.batch, count - first)));
      std::iota(rows.begin(), rows.end(), first);
      inputs_.push_back(examples.batch(rows).input);
      predictions_.push_back(teacher->forward(inputs_.back()).to(at::kFloat));
      rows_ += std::ssize(rows);
    }
  }

  KeptHeads choose() {
    kept_.distance = distance_ = distance();
    for (int round = 0; round < config_.rounds; ++round) choose_round(round);
    return std::move(kept_);
  }

 private:
  double distance() const {
    double sum = 0;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (interrupted()) throw Interrupted{};
      const at::Tensor& wanted = predictions_[i];
      const at::Tensor mean = teacher_loss(model_.forward(inputs_[i]).to(at::kFloat), wanted, model_.labels() != 1);
      sum += mean.item<double>() * static_cast<double>(wanted.size(0));
    }
    return sum / static_cast<double>(rows_);
  }

  // The model is as it was afterwards.
  double distance_with(const KeptSoftmax& what) {
    Attention& attention = *model_.attentions()[static_cast<std::size_t>(what.layer)];
    const Attention before = attention;
    keep(model_, what);
    const double result = distance();
    attention = before;
    return result;
  }

  std::vector<KeptHead> measured(const std::vector<KeptSoftmax>& candidates, const std::string& stage) {
    std::vector<KeptHead> result;
    progress_.begin(stage, std::ssize(candidates));
    for (const KeptSoftmax& what : candidates) {
      result.push_back({what, distance_with(what)});
      progress_.update(std::ssize(result), fmt::format("{}: distance {:.4f}", to_string(what), result.back().distance));
    }
    progress_.end();
    std::stable_sort(result.begin(), result.end(), nearer);
    return result;
  }

  std::vector<KeptSoftmax> linear_layers() const {
    std::vector<KeptSoftmax> result;
    const std::vector<Attention*> attentions = model_.attentions();
    for (std::size_t i = 0; i < attentions.size(); ++i) {
      if (attentions[i]->config().kind != AttentionKind::kSoftmax) result.push_back({static_cast<std::int64_t>(i)});
    }
    return result;
  }

  std::vector<KeptSoftmax> linear_heads(std::int64_t layer) const {
    std::vector<KeptSoftmax> result;
    const Attention& attention = *model_.attentions()[static_cast<std::size_t>(layer)];
    const std::vector<std::int64_t>& kept = attention.config().softmax_heads;
    for (std::int64_t head = 0; head < attention.kv_heads(); ++head) {
      if (std::find(kept.begin(), kept.end(), head) == kept.end()) result.push_back({layer, head});
    }
    return result;
  }

  void choose_round(int round) {
    const std::string stage = fmt::format("heads to keep, {} of {}", round + 1, config_.rounds);
    std::vector<KeptHead> layers = measured(linear_layers(), stage + ": layers");
    layers.resize((layers.size() + kShareOfLayers - 1) / kShareOfLayers);
    std::vector<KeptSoftmax> candidates;
    for (const KeptHead& layer : layers) {
      const std::vector<KeptSoftmax> more = linear_heads(layer.what.layer);
      candidates.insert(candidates.end(), more.begin(), more.end());
    }
    const std::vector<KeptHead> heads = measured(candidates, stage + ": heads");
    // The last round may take all that are left, the others their share of them.
    const std::int64_t left = config_.count - std::ssize(kept_.heads), rounds_left = config_.rounds - round;
    const std::int64_t most = std::ssize(kept_.heads) + (left + rounds_left - 1) / rounds_left;
    for (const KeptHead& head : heads) {
      if (std::ssize(kept_.heads) >= most) return;
      // Gains do not add up: what brings nothing beside the others is left out.
      const double with = distance_with(head.what);
      if (with >= distance_) continue;
      keep(model_, head.what);
      distance_ = with;
      kept_.heads.push_back({head.what, with});
    }
  }

  Classifier& model_;
  const KeptHeadsConfig& config_;
  Progress& progress_;
  std::vector<ClassifierInput> inputs_;
  std::vector<at::Tensor> predictions_;  // the softmax model's logits
  std::int64_t rows_ = 0;
  KeptHeads kept_;
  double distance_ = 0;
};

}  // namespace

nlohmann::json to_json(const KeptHeads& kept) {
  nlohmann::json heads = nlohmann::json::array();
  for (const KeptHead& head : kept.heads) heads.push_back({{"what", to_string(head.what)}, {"distance", head.distance}});
  return {{"distance", kept.distance}, {"heads", heads}};
}

KeptHeads kept_heads(const nlohmann::json& json) try {
  KeptHeads kept{json.at("distance").get<double>(), {}};
  for (const nlohmann::json& head : json.at("heads")) {
    kept.heads.push_back({kept_softmax(head.at("what").get<std::string>()), head.at("distance").get<double>()});
  }
  return kept;
} catch (const nlohmann::json::exception& error) {
  fail("the list of kept heads is damaged: {}", error.what());
}

KeptHeads keep_heads(Classifier& model, const Examples& examples, const KeptHeadsConfig& config, Progress& progress) {
  check(config.count >= 1 && config.examples >= 1 && config.batch >= 1 && examples.size() >= 1,
        "heads to keep: expected at least 1 head and 1 example, found {} and {}", config.count,
        std::min(config.examples, examples.size()));
  const at::NoGradGuard no_gradients;
  return HeadChooser(model, examples, config, progress).choose();
}

void keep_heads(Classifier& model, const KeptHeads& kept) {
  for (const KeptHead& head : kept.heads) keep(model, head.what);
}

}  // namespace hedgehog

#include "cli/maps_source.h"

#include "cli/model_data.h"
#include "cli/task_model.h"
#include "hedgehog/analysis/moved_maps.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_file.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/models/classifier.h"

#include <memory>
#include <optional>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostReport = std::size_t{16} << 20;  // bytes

/// The source's attentions, and the model that they live in.
struct OpenSource {
  std::optional<LoadedModel> language;
  std::unique_ptr<Classifier> classifier;
  std::vector<Attention*> attentions;
};

OpenSource open_source(const fs::path& model) {
  OpenSource source;
  if (measured_task(model.string(), {})) {  // a classifier names the task that it was trained on
    source.classifier = load_classifier(open_checkpoint(model), /*labels=*/0, /*seed=*/0);
    source.attentions = source.classifier->attentions();
  } else {
    source.language = load_model(model, at::kFloat);
    source.attentions = attentions_of(source.language->model);
  }
  return source;
}

std::vector<HeadFidelity> reported_heads(const fs::path& model) {
  const fs::path file = model / "report.json";
  check(fs::exists(file), "{}: is not there; 'hedgehog inspect {} -o {}' writes it, or match by depth", file.string(),
        model.string(), model.string());
  const nlohmann::json report = read_json_object(file.string(), kMostReport);
  std::vector<HeadFidelity> heads;
  try {
    // The last model is the result, where stages or several models are reported.
    for (const nlohmann::json& head : report.at("models").back().at("heads")) {
      HeadFidelity& one = heads.emplace_back();
      head.at("layer").get_to(one.layer);
      head.at("head").get_to(one.head);
      for (const HeadMeasure& measure : kHeadMeasures) {
        if (const auto& value = head.at(measure.name); value.is_number()) value.get_to(one.*measure.value);
      }
    }
  } catch (const nlohmann::json::exception& error) {
    fail("{}: is not a report of 'hedgehog inspect': {}", file.string(), error.what());
  }
  return heads;
}

}  // namespace

void add_maps_source(CLI::App& verb, MapsSource& source, const std::string& group) {
  verb.add_option("--maps-from", source.model, "a converted model whose maps this one's begin with, of the same head dimension")
      ->type_name("MODEL")
      ->group(group);
  verb.add_option(
          "--maps-by", source.matched_by,
          "how heads are matched: depth, or statistics of their softmax weights (then MODEL/report.json, of inspect, is read)")
      ->check(CLI::IsMember({"depth", "statistics"}))
      ->capture_default_str()
      ->group(group);
}

void take_maps(const MapsSource& source, const std::vector<Attention*>& attentions,
               const std::function<std::vector<HeadFidelity>()>& heads) {
  if (!source.given()) return;
  check(!mapped_heads(attentions).empty(), "--maps-from: no layer here has a feature map that learns weights");
  const OpenSource open = open_source(source.model);
  try {
    move_maps(open.attentions, attentions,
              source.matched_by == "depth"
                  ? matched_by_depth(open.attentions, attentions)
                  : matched_by_statistics(open.attentions, reported_heads(source.model), attentions, heads()));
  } catch (const Error& error) {
    fail("--maps-from {}: {}", source.model.string(), error.what());
  }
}

nlohmann::json to_json(const MapsSource& source) {
  return {{"model", source.model.string()}, {"matched_by", source.matched_by}};
}

}  // namespace hedgehog::cli

// --maps-from: a conversion that begins with the maps of another one, of train, convert, distill and finetune.
#pragma once

#include "hedgehog/analysis/head_fidelity.h"
#include "hedgehog/attention/attention.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace hedgehog::cli {

struct MapsSource {
  std::filesystem::path model;       // converted, a language model or a classifier; empty: none
  std::string matched_by = "depth";  // or "statistics"

  bool given() const { return !model.empty(); }
};

void add_maps_source(CLI::App& verb, MapsSource& source, const std::string& group);

/// Puts the source's maps into `attentions`. `heads` measures these; it is asked where heads are matched by statistics, and the
/// source's are read from the report.json in its directory. Does nothing where no source is given. Throws Error for maps that
/// don't fit, or without a report.
void take_maps(const MapsSource& source, const std::vector<Attention*>& attentions,
               const std::function<std::vector<HeadFidelity>()>& heads);

/// What a recipe says of it.
nlohmann::json to_json(const MapsSource& source);

}  // namespace hedgehog::cli

// The fidelity report as one HTML file that asks nothing of a network: data, script and the library of charts are all in it.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace hedgehog {

/// `report`: "title", "subtitle", and "models", a list of
///   "name", "heads" (of to_json(std::vector<HeadFidelity>); empty: it is only compared by the rest), "means";
///   optional: "summary" (lines, of in_words()), "maps" (of to_json(AttentionMaps)), "scores" (name: number), "samples"
///   ([{"prompt", "text"}]), "contexts"
///   ([{"length", "tokens_per_second", "state_bytes"}]), "kept_layers" (of to_json(KeptLayers)).
/// Of several models the first is what the others are compared with. Numbers are rounded to four digits.
std::string report_page(const nlohmann::json& report);

}  // namespace hedgehog

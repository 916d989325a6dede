// Where and why one or several models fail to be softmax, as a page, as Markdown and as JSON.
#pragma once

#include "cli/markdown_table.h"
#include "hedgehog/analysis/head_fidelity.h"
#include "hedgehog/analysis/kept_layers.h"
#include "hedgehog/analysis/verdicts.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace hedgehog::cli {

/// One model of a report: "name", "heads", "means", "verdicts", "summary", and `more`: "maps", "scores", "samples", "contexts",
/// as report_page() takes them.
nlohmann::json reported_model(const std::string& name, const std::vector<HeadFidelity>& heads,
                              const std::vector<Verdict>& verdicts, const nlohmann::json& more = nlohmann::json::object());

struct FidelityReport {
  std::string title, subtitle;
  std::vector<nlohmann::json> models;  // of reported_model(); the first is what others are compared with
};

/// Moves what TrainingRun::measure gave after a stage from that stage's report to `report`, as "after STAGE".
void take_measured(nlohmann::json& stage, FidelityReport& report);

/// What report_page() takes.
nlohmann::json to_json(const FidelityReport& report);

/// A line a measure, a column a model.
std::string means_as_markdown(const std::vector<nlohmann::json>& models);

/// A line a head with all its measures; `heads`: of to_json(std::vector<HeadFidelity>).
std::string heads_as_markdown(const nlohmann::json& heads);

/// report.html, report.md and report.json in `directory`, which is made where it is missing.
void write_fidelity_report(const std::filesystem::path& directory, const FidelityReport& report);

/// A line a change, with memory and perplexity; and the uniform choices.
std::vector<Cells> kept_layers_table(const KeptLayers& kept);

/// The tokens as they read in their text, for the axes of a map: "·" for a blank, "↵" for the end of a line.
std::vector<std::string> token_labels(const Tokenizer& tokenizer, std::span<const std::int32_t> tokens);

/// What the model writes after `prompt`, greedily: {"prompt", "text"}.
nlohmann::json written_sample(const Decoder& model, const Tokenizer& tokenizer, const std::string& prompt,
                              std::int64_t most_tokens);

}  // namespace hedgehog::cli

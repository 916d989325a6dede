// What a conversion cost and kept, measured: softmax, the converted model, its controls; as a table, as Markdown, as JSON and
// as a page.
#pragma once

#include "cli/context_costs.h"
#include "cli/fidelity_report.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace hedgehog::cli {

/// One line of the table.
struct ReportRow {
  std::string name;
  double perplexity = 0;
  std::optional<double> kl, top1_agreement;
  std::vector<ContextCost> costs;
};

struct ConversionReport {
  std::string model;
  nlohmann::json description;  // base, recipe, data, training
  std::vector<ReportRow> rows;
  std::int64_t tokens = 0;               // scored in each row
  std::optional<double> baseline_ratio;  // converted perplexity over that of the finetuned softmax model
  FidelityReport fidelity;               // softmax, without heads; the stages; last the converted model
  double seconds = 0;
};

/// Lines of the table, with a header.
std::string table(const ConversionReport& report);

/// perplexity, kl_to_softmax, ..., controls, rows: what hedgehog.json keeps as "metrics" and --json prints.
nlohmann::json metrics(const ConversionReport& report);

/// report.json, report.md and report.html in `directory`.
void write_report(const std::filesystem::path& directory, const ConversionReport& report);

}  // namespace hedgehog::cli

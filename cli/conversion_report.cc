#include "cli/conversion_report.h"

#include "cli/markdown_table.h"
#include "hedgehog/analysis/report_page.h"
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"

#include <algorithm>
#include <cmath>

namespace hedgehog::cli {
namespace {

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6);
}

std::vector<Cells> cells(const ConversionReport& report) {
  Cells header = {"", "perplexity", "KL to softmax", "same choice"};
  const std::vector<ContextCost>& costs = report.rows.front().costs;
  for (const ContextCost& cost : costs) header.push_back(fmt::format("tok/s at {}", cost.length));
  for (const ContextCost& cost : costs) header.push_back(fmt::format("memory at {}", cost.length));
  std::vector<Cells> lines = {header};
  for (const ReportRow& row : report.rows) {
    Cells line = {row.name, fmt::format("{:.2f}", row.perplexity), row.kl ? fmt::format("{:.4f}", *row.kl) : "",
                  row.top1_agreement ? fmt::format("{:.1f} %", 100 * *row.top1_agreement) : ""};
    for (const ContextCost& cost : row.costs) line.push_back(fmt::format("{:.1f}", cost.tokens_per_second));
    for (const ContextCost& cost : row.costs) line.push_back(megabytes(cost.state_bytes));
    line.resize(header.size());
    lines.push_back(line);
  }
  return lines;
}

std::string ratio_line(const ConversionReport& report) {
  if (!report.baseline_ratio) return "";
  return fmt::format("Perplexity over that of the softmax model finetuned with the same steps and tokens: {:.3f}\n",
                     *report.baseline_ratio);
}

nlohmann::json to_json(const ReportRow& row) {
  nlohmann::json json = {{"name", row.name}, {"perplexity", row.perplexity}};
  if (row.kl) json["kl_to_softmax"] = *row.kl;
  if (row.top1_agreement) json["top1_agreement"] = *row.top1_agreement;
  if (!row.costs.empty()) json["contexts"] = to_json(row.costs);
  return json;
}

}  // namespace

std::string table(const ConversionReport& report) {
  const std::vector<Cells> lines = cells(report);
  std::vector<std::size_t> widths(lines.front().size());
  for (const Cells& line : lines) {
    for (std::size_t column = 0; column < line.size(); ++column) widths[column] = std::max(widths[column], line[column].size());
  }
  std::string text;
  for (const Cells& line : lines) {
    std::string row = fmt::format("{:<{}}", line[0], widths[0]);
    for (std::size_t column = 1; column < line.size(); ++column) row += fmt::format("  {:>{}}", line[column], widths[column]);
    text += row.substr(0, row.find_last_not_of(' ') + 1) + "\n";
  }
  return text + ratio_line(report);
}

nlohmann::json metrics(const ConversionReport& report) {
  nlohmann::json json;
  for (const ReportRow& row : report.rows) {
    if (row.name == "converted") {
      json = to_json(row);
      json.erase("name");
    }
  }
  for (const ReportRow& row : report.rows) {
    json["rows"].push_back(to_json(row));
    if (row.name == "softmax") json["softmax_perplexity"] = row.perplexity;
    if (row.name == "softmax, finetuned") json["baseline_perplexity"] = row.perplexity;
    if (row.name == "linear removed") json["controls"]["linear_removed"] = row.perplexity;
    if (row.name == "window removed") json["controls"]["window_removed"] = row.perplexity;
    if (row.name == "no attention") json["controls"]["no_attention"] = row.perplexity;
  }
  json["tokens"] = report.tokens;
  if (report.baseline_ratio) json["baseline_ratio"] = *report.baseline_ratio;
  return json;
}

void write_report(const std::filesystem::path& directory, const ConversionReport& report) {
  nlohmann::json json = report.description;
  json["model"] = report.model;
  json["metrics"] = metrics(report);
  json["seconds"] = report.seconds;
  const nlohmann::json& converted = report.fidelity.models.back();
  json["heads"] = converted.at("heads");
  json["verdicts"] = converted.at("verdicts");
  std::vector<nlohmann::json> stages;
  for (const nlohmann::json& model : report.fidelity.models) {
    if (model.at("heads").empty()) continue;
    stages.push_back(model);
    json["stages"].push_back({{"name", model.at("name")}, {"means", model.at("means")}});
  }
  const auto dump = [](const nlohmann::json& value) {
    return value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  write_text_file(directory / "report.json", dump(json) + "\n");
  const nlohmann::json& data = report.description.at("data");
  std::string text = "# " + report.model + ", converted\n\n" + markdown_table(cells(report)) + "\n" + ratio_line(report) + "\n";
  text += "Measured on " + data.at("evaluation").at("description").get<std::string>() + ".\n";
  text += "Trained on " + data.at("training").at("description").get<std::string>() + ".\n\n";
  text +=
      "The last rows are controls: the same model with a part of its attention left out, nothing retrained. Where removing "
      "the\n"
      "linear part costs nothing, the model does not use it.\n\n";
  text += "## Recipe\n\n```json\n" + dump(report.description.at("recipe")) + "\n```\n\n";
  text += "## Verdicts\n\n";
  for (const nlohmann::json& line : converted.at("summary")) text += "- " + line.get<std::string>() + "\n";
  if (converted.contains("kept_layers")) {
    text += "\n## Kept layers\n\nOn the training text, before the finetuning.\n\n" +
            markdown_table(kept_layers_table(kept_layers(converted.at("kept_layers"))));
  }
  text += "\n## Stages\n\n" + means_as_markdown(stages);
  text += "\n## Heads\n\nEach head against softmax on the same queries, keys and values.\n\n" +
          heads_as_markdown(converted.at("heads"));
  write_text_file(directory / "report.md", text);
  write_text_file(directory / "report.html", report_page(to_json(report.fidelity)));
}

}  // namespace hedgehog::cli

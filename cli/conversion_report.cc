#include "cli/conversion_report.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/inference/engine.h"

#include <algorithm>
#include <cmath>

namespace hedgehog::cli {
namespace {

using Cells = std::vector<std::string>;

constexpr std::size_t kReportedVerdicts = 20;  // lines

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

std::string markdown(const std::vector<Cells>& lines) {
  std::string text;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    text += "|";
    for (const std::string& cell : lines[i]) text += " " + cell + " |";
    text += "\n";
    if (i > 0) continue;
    for (std::size_t column = 0; column < lines[i].size(); ++column) text += column == 0 ? "|---|" : "---:|";
    text += "\n";
  }
  return text;
}

std::string ratio_line(const ConversionReport& report) {
  if (!report.baseline_ratio) return "";
  return fmt::format("Perplexity over that of the softmax model finetuned with the same steps and tokens: {:.3f}\n",
                     *report.baseline_ratio);
}

std::vector<Cells> head_cells(const std::vector<HeadFidelity>& heads) {
  std::vector<Cells> lines = {{"layer", "head", "entropy softmax", "entropy linear", "KL", "monotonicity", "inverted pairs",
                               "linear share", "output error", "effective rank", "log denominator"}};
  for (const HeadFidelity& head : heads) {
    Cells line = {std::to_string(head.layer), std::to_string(head.head)};
    for (const double value : {head.entropy_softmax, head.entropy_linear, head.kl, head.monotonicity, head.inverted_pairs,
                               head.linear_share, head.output_error, head.effective_rank, head.log_denominator}) {
      line.push_back(std::isnan(value) ? "" : fmt::format("{:.3f}", value));
    }
    lines.push_back(line);
  }
  return lines;
}

nlohmann::json to_json(const ReportRow& row) {
  nlohmann::json json = {{"name", row.name}, {"perplexity", row.perplexity}};
  if (row.kl) json["kl_to_softmax"] = *row.kl;
  if (row.top1_agreement) json["top1_agreement"] = *row.top1_agreement;
  for (const ContextCost& cost : row.costs) {
    json["contexts"].push_back(
        {{"length", cost.length}, {"tokens_per_second", cost.tokens_per_second}, {"state_bytes", cost.state_bytes}});
  }
  return json;
}

}  // namespace

std::vector<ContextCost> context_costs(const Decoder& model, const Tokenizer& tokenizer, const Corpus& corpus,
                                       const std::vector<std::int64_t>& lengths, Progress& progress) {
  constexpr std::int64_t kDecoded = 32;
  std::vector<ContextCost> costs;
  progress.begin("measuring speed", std::ssize(lengths));
  for (const std::int64_t length : lengths) {
    progress.update(std::ssize(costs), fmt::format("context {}", length));
    GenerationRequest request;
    const std::int64_t most = std::max<std::int64_t>(model.config().max_positions - kDecoded, 1);
    request.prompt.resize(static_cast<std::size_t>(std::min(length, most)));
    for (std::size_t i = 0; i < request.prompt.size(); ++i) request.prompt[i] = corpus.tokens[i % corpus.tokens.size()];
    request.max_tokens = kDecoded;
    request.ignore_end = true;
    const GenerationResult result = generate(model, tokenizer, request);
    if (interrupted()) throw Interrupted{};
    costs.push_back({std::ssize(request.prompt), result.tokens_per_second(), result.state_bytes});
  }
  progress.update(std::ssize(costs), "");
  progress.end();
  return costs;
}

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
  json["heads"] = to_json(report.heads);
  json["verdicts"] = to_json(report.verdicts);
  const auto dump = [](const nlohmann::json& value) {
    return value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  write_text_file(directory / "report.json", dump(json) + "\n");
  const nlohmann::json& data = report.description.at("data");
  std::string text = "# " + report.model + ", converted\n\n" + markdown(cells(report)) + "\n" + ratio_line(report) + "\n";
  text += "Measured on " + data.at("evaluation").at("description").get<std::string>() + ".\n";
  text += "Trained on " + data.at("training").at("description").get<std::string>() + ".\n\n";
  text +=
      "The last rows are controls: the same model with a part of its attention left out, nothing retrained. Where removing "
      "the\n"
      "linear part costs nothing, the model does not use it.\n\n";
  text += "## Recipe\n\n```json\n" + dump(report.description.at("recipe")) + "\n```\n\n";
  text += "## Verdicts\n\n";
  for (const std::string& line : in_words(report.verdicts, report.heads.size(), kReportedVerdicts)) text += "- " + line + "\n";
  text +=
      "\n## Heads\n\nEach head against softmax on the same queries, keys and values.\n\n" + markdown(head_cells(report.heads));
  write_text_file(directory / "report.md", text);
}

}  // namespace hedgehog::cli

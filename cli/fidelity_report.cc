#include "cli/fidelity_report.h"

#include "hedgehog/analysis/report_page.h"
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/inference/engine.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

namespace hedgehog::cli {
namespace {

constexpr std::size_t kReportedVerdicts = 20;  // lines

std::string number(const nlohmann::json& value) {
  return value.is_number() ? fmt::format("{:.4f}", value.get<double>()) : "";
}

}  // namespace

std::string means_as_markdown(const std::vector<nlohmann::json>& models) {
  Cells header = {"mean over heads"};
  for (const nlohmann::json& model : models) header.push_back(model["name"]);
  std::vector<Cells> lines = {header};
  for (const HeadMeasure& measure : kHeadMeasures) {
    Cells line = {measure.name};
    for (const nlohmann::json& model : models) line.push_back(number(model["means"][measure.name]));
    lines.push_back(line);
  }
  return markdown_table(lines);
}

namespace {

std::string costs(const nlohmann::json& contexts) {
  std::vector<Cells> lines = {{"context, tokens", "tokens a second", "state, MB"}};
  for (const nlohmann::json& cost : contexts) {
    lines.push_back({std::to_string(cost["length"].get<std::int64_t>()),
                     fmt::format("{:.1f}", cost["tokens_per_second"].get<double>()),
                     fmt::format("{:.2f}", cost["state_bytes"].get<double>() / 1e6)});
  }
  return markdown_table(lines);
}

std::string as_markdown(const FidelityReport& report) {
  std::string text =
      fmt::format("# {}\n\n{}\n\n## Means\n\n{}", report.title, report.subtitle, means_as_markdown(report.models));
  for (const nlohmann::json& model : report.models) {
    text += fmt::format("\n## {}\n\n", model["name"].get<std::string>());
    for (const nlohmann::json& line : model["summary"]) text += "- " + line.get<std::string>() + "\n";
    if (model.contains("kept_layers")) text += "\n" + markdown_table(kept_layers_table(kept_layers(model["kept_layers"])));
    if (model.contains("contexts")) text += "\n" + costs(model["contexts"]);
    for (const nlohmann::json& sample : model.value("samples", nlohmann::json::array())) {
      text += fmt::format("\n```\n{}{}\n```\n", sample["prompt"].get<std::string>(), sample["text"].get<std::string>());
    }
    text += "\n" + heads_as_markdown(model["heads"]);
  }
  return text;
}

}  // namespace

nlohmann::json reported_model(const std::string& name, const std::vector<HeadFidelity>& heads,
                              const std::vector<Verdict>& verdicts, const nlohmann::json& more) {
  nlohmann::json json = {{"name", name},
                         {"heads", hedgehog::to_json(heads)},
                         {"means", hedgehog::to_json(mean_over_heads(heads))},
                         {"verdicts", hedgehog::to_json(verdicts)},
                         {"summary", in_words(verdicts, heads.size(), kReportedVerdicts)}};
  json.update(more);
  return json;
}

void take_measured(nlohmann::json& stage, FidelityReport& report) {
  if (!stage.contains("measured")) return;
  stage["measured"]["name"] = "after " + stage["stage"].get<std::string>();
  report.models.push_back(std::move(stage["measured"]));
  stage.erase("measured");
}

nlohmann::json to_json(const FidelityReport& report) {
  return {{"title", report.title}, {"subtitle", report.subtitle}, {"models", report.models}};
}

std::string heads_as_markdown(const nlohmann::json& heads) {
  Cells header = {"layer", "head"};
  for (const HeadMeasure& measure : kHeadMeasures) header.emplace_back(measure.name);
  std::vector<Cells> lines = {header};
  for (const nlohmann::json& head : heads) {
    Cells line = {head["layer"].dump(), head["head"].dump()};
    for (const HeadMeasure& measure : kHeadMeasures) line.push_back(number(head[measure.name]));
    lines.push_back(line);
  }
  return markdown_table(lines);
}

void write_fidelity_report(const std::filesystem::path& directory, const FidelityReport& report) {
  std::error_code problem;
  std::filesystem::create_directories(directory, problem);
  check(!problem, "{}: cannot be made: {}", directory.string(), problem.message());
  const nlohmann::json json = to_json(report);
  write_text_file(directory / "report.html", report_page(json));
  write_text_file(directory / "report.md", as_markdown(report));
  write_text_file(directory / "report.json", json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::vector<Cells> kept_layers_table(const KeptLayers& kept) {
  std::vector<Cells> lines = {{"layers (or layer.head) put back to softmax", "memory", "perplexity"}};
  const auto add = [&](const std::string& what, std::int64_t bytes, double loss) {
    lines.push_back({what, fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6), fmt::format("{:.3f}", std::exp(loss))});
  };
  add("none", kept.bytes, kept.loss);
  for (const LayerChange& change : kept.changes) {
    const std::string what = to_string(change.what);
    add(change.window == 0 ? "+ " + what : fmt::format("+ a window of {} in {}", change.window, what), change.bytes,
        change.loss);
  }
  for (const UniformChoice& choice : kept.uniform) {
    add(fmt::format("instead the {}: {}", choice.name, fmt::join(choice.layers, ", ")), choice.bytes, choice.loss);
  }
  return lines;
}

std::vector<std::string> token_labels(const Tokenizer& tokenizer, std::span<const std::int32_t> tokens) {
  std::vector<std::string> labels;
  std::optional<std::int32_t> previous;
  for (const std::int32_t token : tokens) {
    std::string label;
    for (const char c : tokenizer.decode_next(previous, token)) {
      if (c == '\n') {
        label += "↵";
      } else if (c == ' ') {
        label += "·";
      } else {
        label += c;
      }
    }
    labels.push_back(std::move(label));
    previous = token;
  }
  return labels;
}

nlohmann::json written_sample(const Decoder& model, const Tokenizer& tokenizer, const std::string& prompt,
                              std::int64_t most_tokens) {
  GenerationRequest request;
  request.prompt = tokenizer.encode(prompt, true);
  request.max_tokens = most_tokens;
  if (model.config().learned_positions) {
    const std::int64_t room = model.config().max_positions - std::ssize(request.prompt);
    request.max_tokens = std::clamp<std::int64_t>(room, 0, most_tokens);
  }
  const GenerationResult result = generate(model, tokenizer, request);
  if (interrupted()) throw Interrupted{};
  return {{"prompt", prompt}, {"text", result.text}};
}

}  // namespace hedgehog::cli

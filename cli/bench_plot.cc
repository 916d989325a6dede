// The picture of `hedgehog bench`: a row of two panels for each kind of work.
#include "cli/bench_report.h"
#include "cli/command.h"
#include "cli/log_plot.h"

#include <fmt/format.h>

#include <algorithm>

namespace hedgehog::cli {
namespace {

constexpr double kMebibyte = 1 << 20;

/// The line of a form and dtype in a panel, made when it is not there.
std::vector<std::pair<double, double>>& points_of(PlotPanel& panel, const std::string& name, bool dashed) {
  for (PlotLine& line : panel.lines) {
    if (line.name == name && line.dashed == dashed) return line.points;
  }
  panel.lines.push_back({name, dashed, {}});
  return panel.lines.back().points;
}

void add_point(std::vector<PlotPanel>& row, const MeasuredCase& measured, const FormTime& time) {
  const bool dashed = measured.dtype == at::kFloat;
  const auto length = static_cast<double>(measured.length);
  if (time.seconds) points_of(row[0], time.who, dashed).emplace_back(length, *time.seconds * 1e3);
  if (time.memory) points_of(row[1], time.who, dashed).emplace_back(length, *time.memory / kMebibyte);
}

std::string memory_label(const std::string& what) {
  if (what == "decode") return "state or cache, and scratch, MiB";
  if (what == "generate") return "state, MiB";
  return what == "prefill" ? "beyond the weights, MiB" : "beyond inputs and outputs, MiB";
}

}  // namespace

std::string bench_plot(const BenchReport& report) {
  LogPlot plot;
  const HeadShape& shape = report.shape;
  const bool of_model = std::all_of(report.cases.begin(), report.cases.end(), [](const auto& c) { return c.flops <= 0; });
  plot.title = of_model ? std::filesystem::weakly_canonical(report.model).filename().string()
                        : fmt::format("Attention: {}, {}/{} heads of {}, batch {}", shape.name, shape.heads, shape.kv_heads,
                                      shape.dim, report.batch);
  plot.title += fmt::format("; {}, {} threads", report.machine.value("processor", ""), report.machine.value("threads", 0));
  std::vector<std::string> works;
  for (const MeasuredCase& measured : report.cases) {
    auto found = std::find(works.begin(), works.end(), measured.what);
    if (found == works.end()) {
      found = works.insert(works.end(), measured.what);
      const bool token = measured.what == "decode" || measured.what == "generate";
      const std::string axis = token ? "n, tokens before it" : "n, tokens";
      plot.rows.push_back({{measured.what + ": time", axis, token ? "time of one token, ms" : "time of one call, ms", {}},
                           {measured.what + ": peak memory", axis, memory_label(measured.what), {}}});
    }
    std::vector<PlotPanel>& row = plot.rows[static_cast<std::size_t>(found - works.begin())];
    add_point(row, measured, measured.own);
    for (const FormTime& time : measured.opponents) add_point(row, measured, time);
    (measured.dtype == at::kFloat ? plot.dashed : plot.solid) = dtype_name(measured.dtype);
  }
  return svg(plot);
}

}  // namespace hedgehog::cli

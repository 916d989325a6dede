#include "cli/log_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace hedgehog::cli {
namespace {

constexpr double kPanelWidth = 440, kPanelHeight = 290, kTop = 84;
constexpr double kLeft = 64, kRight = 16, kAbove = 30, kBelow = 46;  // of the axes inside a panel
// Of middle lightness: they stand out from white and from black.
constexpr std::array<const char*, 8> kColors = {"#12946a", "#d9601a", "#7a6ff0", "#c9379a",
                                                "#2b8fd9", "#a3860f", "#8a8f98", "#e0454f"};
constexpr const char* kStyle =
    "text{font-family:Helvetica,Arial,sans-serif;font-size:12px;fill:#222}.title{font-size:15px;font-weight:bold}"
    ".panel{font-size:13px;font-weight:bold}.tick{font-size:11px;fill:#555}.paper{fill:#fff}.axis{stroke:#555;fill:none}"
    ".grid{stroke:#ddd;fill:none}.line{fill:none;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e6e6}.tick{fill:#aaa}.paper{fill:#14171a}.axis{stroke:#aaa}"
    ".grid{stroke:#33383d}}";

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return result;
}

std::string text_at(double x, double y, const std::string& text, const char* kind, const char* anchor = "start") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\" text-anchor=\"{}\">{}</text>\n", x, y, kind, anchor,
                     escaped(text));
}

/// One axis: values from least to most on a stretch of the picture.
struct LogAxis {
  double least = 0, most = 0, begin = 0, end = 0;

  double place(double value) const { return begin + (end - begin) * std::log(value / least) / std::log(most / least); }
};

/// A range that holds all values, with a little air, and is never empty.
LogAxis axis_over(const std::vector<double>& values, double air, double begin, double end) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const double margin = *most > *least ? air : 2;
  return {*least / margin, *most * margin, begin, end};
}

std::vector<double> powers_of_two(const LogAxis& axis) {
  std::vector<double> all;
  for (double x = std::exp2(std::ceil(std::log2(axis.least))); x <= axis.most; x *= 2) all.push_back(x);
  constexpr std::size_t kMost = 7;
  const std::size_t step = (all.size() + kMost - 1) / kMost;
  std::vector<double> ticks;
  for (std::size_t i = 0; i < all.size(); i += std::max<std::size_t>(step, 1)) ticks.push_back(all[i]);
  return ticks;
}

/// Powers of ten, and 2 and 5 times those where there are few.
std::vector<double> decades(const LogAxis& axis) {
  const bool few = std::log10(axis.most / axis.least) < 2.5;
  std::vector<double> ticks;
  for (double power = std::pow(10, std::floor(std::log10(axis.least))); power <= axis.most; power *= 10) {
    for (const double factor : {1, 2, 5}) {
      const double value = power * factor;
      if ((few || factor == 1) && value >= axis.least && value <= axis.most) ticks.push_back(value);
    }
  }
  return ticks;
}

std::string tick_text(double value) {
  return value >= 1 ? fmt::format("{:.0f}", value) : fmt::format("{:g}", value);
}

std::vector<std::string> names_of(const LogPlot& plot) {
  std::vector<std::string> names;
  for (const auto& row : plot.rows) {
    for (const PlotPanel& panel : row) {
      for (const PlotLine& line : panel.lines) {
        if (std::find(names.begin(), names.end(), line.name) == names.end()) names.push_back(line.name);
      }
    }
  }
  return names;
}

const char* color_of(const std::vector<std::string>& names, const std::string& name) {
  const auto index = static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  return kColors[index % kColors.size()];
}

std::string stroke_of(const char* color, bool dashed) {
  return fmt::format("class=\"line\" stroke=\"{}\"{}", color, dashed ? " stroke-dasharray=\"6 4\"" : "");
}

std::string line_svg(const PlotLine& line, const LogAxis& x, const LogAxis& y, const char* color) {
  std::string path, marks;
  for (const auto& [at_x, at_y] : line.points) {
    if (at_x <= 0 || at_y <= 0) continue;
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x.place(at_x), y.place(at_y));
    marks += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\" fill=\"{}\"/>\n", x.place(at_x), y.place(at_y), color);
  }
  if (path.empty()) return "";
  return fmt::format("<path d=\"{}\" {}/>\n", path, stroke_of(color, line.dashed)) + marks;
}

std::string panel_svg(const PlotPanel& panel, double left, double top, const std::vector<std::string>& names) {
  std::vector<double> xs, ys;
  for (const PlotLine& line : panel.lines) {
    for (const auto& [x, y] : line.points) {
      if (x <= 0 || y <= 0) continue;
      xs.push_back(x);
      ys.push_back(y);
    }
  }
  const double begin = left + kLeft, end = left + kPanelWidth - kRight, above = top + kAbove,
               below = top + kPanelHeight - kBelow;
  std::string out = text_at(begin, top + 18, panel.title, "panel");
  out += fmt::format("<path d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\" class=\"axis\"/>\n", begin, above, below, end);
  out += text_at((begin + end) / 2, below + 36, panel.x_label, "label", "middle");
  out += fmt::format("<g transform=\"translate({:.1f} {:.1f}) rotate(-90)\">{}</g>\n", left + 14, (above + below) / 2,
                     text_at(0, 0, panel.y_label, "label", "middle"));
  if (xs.empty()) return out + text_at((begin + end) / 2, (above + below) / 2, "not measured", "tick", "middle");
  const LogAxis x = axis_over(xs, 1.1, begin, end), y = axis_over(ys, 1.5, below, above);
  for (const double tick : powers_of_two(x)) {
    out += fmt::format("<path d=\"M{0:.1f} {1:.1f}V{2:.1f}\" class=\"grid\"/>\n", x.place(tick), above, below);
    out += text_at(x.place(tick), below + 16, tick_text(tick), "tick", "middle");
  }
  for (const double tick : decades(y)) {
    out += fmt::format("<path d=\"M{0:.1f} {1:.1f}H{2:.1f}\" class=\"grid\"/>\n", begin, y.place(tick), end);
    out += text_at(begin - 6, y.place(tick) + 4, tick_text(tick), "tick", "end");
  }
  for (const PlotLine& line : panel.lines) out += line_svg(line, x, y, color_of(names, line.name));
  return out;
}

std::string legend(const LogPlot& plot, const std::vector<std::string>& names) {
  std::string out;
  double x = 20;
  constexpr double kY = 58;
  const auto add = [&](const std::string& name, const char* color, bool dashed) {
    out += fmt::format("<path d=\"M{:.1f} {:.1f}h28\" {}/>\n", x, kY, stroke_of(color, dashed));
    out += text_at(x + 34, kY + 4, name, "label");
    x += 34 + 7.0 * static_cast<double>(name.size()) + 22;
  };
  for (const std::string& name : names) add(name, color_of(names, name), false);
  if (!plot.solid.empty()) add(plot.solid, "#8a8f98", false);
  if (!plot.dashed.empty()) add(plot.dashed, "#8a8f98", true);
  return out;
}

}  // namespace

std::string svg(const LogPlot& plot) {
  std::size_t columns = 1;
  for (const auto& row : plot.rows) columns = std::max(columns, row.size());
  const double width = kPanelWidth * static_cast<double>(columns) + 10;
  const double height = kTop + kPanelHeight * static_cast<double>(plot.rows.size());
  const std::vector<std::string> names = names_of(plot);
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\">\n"
      "<style>{2}</style>\n<rect width=\"{0:.0f}\" height=\"{1:.0f}\" class=\"paper\"/>\n",
      width, height, kStyle);
  out += text_at(20, 30, plot.title, "title") + legend(plot, names);
  for (std::size_t row = 0; row < plot.rows.size(); ++row) {
    for (std::size_t column = 0; column < plot.rows[row].size(); ++column) {
      out += panel_svg(plot.rows[row][column], kPanelWidth * static_cast<double>(column),
                       kTop + kPanelHeight * static_cast<double>(row), names);
    }
  }
  return out + "</svg>\n";
}

}  // namespace hedgehog::cli

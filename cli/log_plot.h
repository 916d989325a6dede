// A small SVG writer: panels with two logarithmic axes, lines with marks, one legend. Readable on light and on dark grounds.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace hedgehog::cli {

struct PlotLine {
  std::string name;  // lines of one name share a colour and a place in the legend
  bool dashed = false;
  std::vector<std::pair<double, double>> points;  // what is not above 0 is left out
};

struct PlotPanel {
  std::string title, x_label, y_label;
  std::vector<PlotLine> lines;
};

struct LogPlot {
  std::string title;
  std::vector<std::vector<PlotPanel>> rows;
  std::string solid, dashed;  // what the two kinds of line are, for the legend; empty: not said
};

std::string svg(const LogPlot& plot);

}  // namespace hedgehog::cli

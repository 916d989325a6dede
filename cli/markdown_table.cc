#include "cli/markdown_table.h"

namespace hedgehog::cli {

std::string markdown_table(const std::vector<Cells>& lines) {
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

}  // namespace hedgehog::cli

// Tables of cells as Markdown.
#pragma once

#include <string>
#include <vector>

namespace hedgehog::cli {

using Cells = std::vector<std::string>;

/// The first line is the header; all have as many cells. The first column is set to the left, the others to the right.
std::string markdown_table(const std::vector<Cells>& lines);

}  // namespace hedgehog::cli

#include "hedgehog/analysis/report_page.h"

#include "hedgehog/base/error.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

// The page's parts as bytes in the program. The build names the two folders.
// NOLINTBEGIN(bugprone-macro-parentheses): `path` is a part of a string literal
#define HEDGEHOG_EMBED(name, path)                                                                                     \
  asm(".pushsection .rodata\n.globl " #name "\n.globl " #name "_end\n.hidden " #name "\n.hidden " #name "_end\n" #name \
      ":\n"                                                                                                            \
      ".incbin \"" path "\"\n" #name "_end:\n.popsection\n");                                                          \
  extern "C" const char name[], name##_end[];
// NOLINTEND(bugprone-macro-parentheses)

HEDGEHOG_EMBED(hedgehog_page_html, HEDGEHOG_PAGE_DIRECTORY "/report.html")
HEDGEHOG_EMBED(hedgehog_page_css, HEDGEHOG_PAGE_DIRECTORY "/report.css")
HEDGEHOG_EMBED(hedgehog_page_js, HEDGEHOG_PAGE_DIRECTORY "/report.js")
HEDGEHOG_EMBED(hedgehog_page_vega, HEDGEHOG_VEGA "/vega.js")

namespace hedgehog {
namespace {

/// Four digits are more than a chart shows, and a quarter of the numbers' size.
void round_numbers(nlohmann::json& json) {
  if (json.is_structured()) {
    for (nlohmann::json& value : json) round_numbers(value);
  } else if (json.is_number_float()) {
    json = std::stod(fmt::format("{:.4g}", json.get<double>()));
  }
}

/// Text of a file (a token, a path) must not end the element that it stands in.
std::string in_script(const nlohmann::json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace

std::string report_page(const nlohmann::json& report) {
  nlohmann::json rounded = report;
  round_numbers(rounded);
  const auto view = [](const char* begin, const char* end) {
    return std::string_view(begin, static_cast<std::size_t>(end - begin));
  };
  const std::string data = in_script(rounded);
  const std::array<std::pair<std::string_view, std::string_view>, 4> parts = {{
      {"{{style}}", view(hedgehog_page_css, hedgehog_page_css_end)},
      {"{{vega}}", view(hedgehog_page_vega, hedgehog_page_vega_end)},
      {"{{report}}", data},
      {"{{script}}", view(hedgehog_page_js, hedgehog_page_js_end)},
  }};
  std::string page;
  std::string_view rest = view(hedgehog_page_html, hedgehog_page_html_end);
  for (const auto& [name, text] : parts) {
    const std::size_t place = rest.find(name);
    check(place != std::string_view::npos, "the page's template has no {}", name);
    page.append(rest.substr(0, place)).append(text);
    rest.remove_prefix(place + name.size());
  }
  return page.append(rest);
}

}  // namespace hedgehog

#include "hedgehog/tokenizer/metaspace.h"

#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/unicode.h"

#include <algorithm>

namespace hedgehog {

Metaspace::Metaspace(const nlohmann::json& description, const char* where)
    : mark(string_field(description, "replacement", where)), split(flag_field(description, "split", true)) {
  check(!mark.empty() && decode_character(mark.data()).bytes == mark.size(),
        "tokenizer.json: {}: Metaspace: 'replacement' should be one character, found '{}'", where, mark.substr(0, 80));
  // Files of before 2024 have a flag instead.
  const bool prefix = flag_field(description, "add_prefix_space", true);
  const std::string scheme = optional_field(description, "prepend_scheme") == nullptr
                                 ? (prefix ? "always" : "never")
                                 : string_field(description, "prepend_scheme", where);
  check(scheme == "always" || scheme == "first" || scheme == "never",
        "tokenizer.json: {}: Metaspace: unknown prepend_scheme '{}'", where, scheme.substr(0, 80));
  prepend = scheme == "always" ? Prepend::kAlways : scheme == "first" ? Prepend::kFirst : Prepend::kNever;
}

void MetaspaceStep::split(std::string_view text, bool at_start, PieceSink sink) const {
  std::string marked;
  marked.reserve(text.size() + text.size() / 2 + options_.mark.size());
  const bool wanted =
      options_.prepend == Metaspace::Prepend::kAlways || (options_.prepend == Metaspace::Prepend::kFirst && at_start);
  if (wanted && !text.starts_with(' ') && !text.starts_with(options_.mark)) {
    marked = options_.mark;
  }
  for (const char c : text) {
    c == ' ' ? marked.append(options_.mark) : marked.append(1, c);
  }
  const std::string_view whole = marked;
  for (std::size_t begin = 0; begin < whole.size();) {
    const std::size_t next = options_.split ? whole.find(options_.mark, begin + 1) : std::string_view::npos;
    const std::size_t end = std::min(next, whole.size());
    sink(whole.substr(begin, end - begin));
    begin = end;
  }
}

}  // namespace hedgehog

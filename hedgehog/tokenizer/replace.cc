#include "hedgehog/tokenizer/replace.h"

#include "hedgehog/tokenizer/json_fields.h"

#include <vector>

namespace hedgehog {

Replace::Replace(const nlohmann::json& description) : content_(string_field(description, "content", "Replace")) {
  const nlohmann::json& pattern = object_field(description, "pattern", "Replace");
  const bool is_string = pattern.contains("String");
  literal_ = string_field(pattern, is_string ? "String" : "Regex", "Replace pattern");
  if (!is_string || literal_.empty()) {
    regex_.emplace(literal_);
  }
}

std::string Replace::operator()(std::string_view text) const {
  const std::vector<Span> matches = regex_ ? regex_->find_all(text) : find_all(text, literal_);
  std::string result;
  result.reserve(text.size() + matches.size() * content_.size());
  std::size_t done = 0;
  for (const Span& match : matches) {
    result.append(text.substr(done, match.begin - done)).append(content_);
    done = match.end;
  }
  return result.append(text.substr(done));
}

}  // namespace hedgehog

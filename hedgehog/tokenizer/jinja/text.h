// Python's operations on strings that methods and filters share. All take and give valid UTF-8.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedgehog::jinja {

std::string upper(std::string_view text);
std::string lower(std::string_view text);
/// str.title: the first letter of every run of letters upper, the others lower.
std::string title(std::string_view text);
/// Jinja's filter `title`: upper where a word starts, which is behind blanks and - ( { [ <.
std::string title_after_brackets(std::string_view text);
std::string capitalize(std::string_view text);

/// Whether str.strip() without arguments takes the character away.
bool is_blank(char32_t code_point);
/// str.strip, lstrip, rstrip. `set` holds the characters to take; null: blanks.
std::string strip(std::string_view text, const std::string* set, bool left, bool right);
/// str.split(separator, limit): null splits at runs of blanks; limit < 0: no limit.
std::vector<std::string> split(std::string_view text, const std::string* separator, long limit);
/// str.replace(from, to, limit).
std::string replace(std::string_view text, std::string_view from, std::string_view to, long limit);

}  // namespace hedgehog::jinja

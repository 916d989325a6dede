// A text's words: what stands between blanks.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

namespace hedgehog {

/// The runs of `text` that hold none of the bytes `blanks`, in order, as views of it; none are empty.
inline std::vector<std::string_view> words_of(std::string_view text, std::string_view blanks = " \t\r\n") {
  std::vector<std::string_view> words;
  for (std::size_t begin = 0; (begin = text.find_first_not_of(blanks, begin)) != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(blanks, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

}  // namespace hedgehog

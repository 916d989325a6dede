// Case mapping is utf8proc's, one character to one.
#include "hedgehog/tokenizer/jinja/text.h"

#include "hedgehog/tokenizer/jinja/value.h"
#include "hedgehog/tokenizer/unicode.h"

#include <utf8proc.h>

namespace hedgehog::jinja {
namespace {

constexpr std::size_t kMaximumText = std::size_t{1} << 24;

template <typename Map>
std::string map_characters(std::string_view text, Map map) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_character(text.data() + i);
    append_utf8(result, static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(c.value))));
    i += c.bytes;
  }
  return result;
}

bool is_letter(utf8proc_int32_t c) {
  return CharacterClasses::get()[static_cast<char32_t>(c)] & CharacterClasses::kLetter;
}

}  // namespace

std::string upper(std::string_view text) {
  return map_characters(text, utf8proc_toupper);
}
std::string lower(std::string_view text) {
  return map_characters(text, utf8proc_tolower);
}

std::string title(std::string_view text) {
  bool in_word = false;
  return map_characters(text, [&](utf8proc_int32_t c) {
    const utf8proc_int32_t mapped = in_word ? utf8proc_tolower(c) : utf8proc_totitle(c);
    in_word = is_letter(c);
    return mapped;
  });
}

std::string title_after_brackets(std::string_view text) {
  bool first = true;
  return map_characters(text, [&](utf8proc_int32_t c) {
    if (c < 0x80 ? std::string_view("-({[<").find(static_cast<char>(c)) != std::string_view::npos ||
                       is_blank(static_cast<char32_t>(c))
                 : is_blank(static_cast<char32_t>(c))) {
      first = true;
      return c;
    }
    const utf8proc_int32_t mapped = first ? utf8proc_toupper(c) : utf8proc_tolower(c);
    first = false;
    return mapped;
  });
}

std::string capitalize(std::string_view text) {
  bool first = true;
  return map_characters(text, [&](utf8proc_int32_t c) {
    const utf8proc_int32_t mapped = first ? utf8proc_totitle(c) : utf8proc_tolower(c);
    first = false;
    return mapped;
  });
}

bool is_blank(char32_t c) {
  return (c >= 0x1C && c <= 0x1F) || (CharacterClasses::get()[c] & CharacterClasses::kSpace) != 0;
}

std::string strip(std::string_view text, const std::string* set, bool left, bool right) {
  const auto taken = [&](std::size_t position) {
    const CodePoint c = decode_character(text.data() + position);
    return set == nullptr ? is_blank(c.value) : set->find(text.substr(position, c.bytes)) != std::string::npos;
  };
  while (left && !text.empty() && taken(0)) {
    text.remove_prefix(decode_character(text.data()).bytes);
  }
  while (right && !text.empty()) {
    const std::size_t last = previous_character(text, text.size());
    if (!taken(last)) {
      break;
    }
    text = text.substr(0, last);
  }
  return std::string(text);
}

std::vector<std::string> split(std::string_view text, const std::string* separator, long limit) {
  std::vector<std::string> parts;
  if (separator != nullptr) {
    if (separator->empty()) {
      throw TemplateError("split: an empty separator");
    }
    std::size_t at = text.find(*separator);
    while (at != std::string_view::npos && limit-- != 0) {
      parts.emplace_back(text.substr(0, at));
      text.remove_prefix(at + separator->size());
      at = text.find(*separator);
    }
    parts.emplace_back(text);
    return parts;
  }
  while (true) {
    while (!text.empty() && is_blank(decode_character(text.data()).value)) {
      text.remove_prefix(decode_character(text.data()).bytes);
    }
    if (text.empty()) {
      return parts;
    }
    if (limit-- == 0) {
      parts.emplace_back(strip(text, nullptr, false, true));
      return parts;
    }
    std::size_t end = 0;
    while (end < text.size() && !is_blank(decode_character(text.data() + end).value)) {
      end += decode_character(text.data() + end).bytes;
    }
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, long limit) {
  std::string result;
  const auto room = [&](std::size_t more) {
    if (result.size() + more > kMaximumText) {
      throw TemplateError("replace: the result grows too large");
    }
  };
  if (from.empty()) {  // between all characters, and at both ends
    for (std::size_t i = 0; limit-- != 0;) {
      room(to.size() + 4);
      result.append(to);
      if (i >= text.size()) {
        return result;
      }
      const std::size_t length = decode_character(text.data() + i).bytes;
      result.append(text.substr(i, length));
      i += length;
      if (limit == 0) {
        return result.append(text.substr(i));
      }
    }
    return result.append(text);
  }
  for (std::size_t at = text.find(from); at != std::string_view::npos && limit-- != 0; at = text.find(from)) {
    room(at + to.size());
    result.append(text.substr(0, at)).append(to);
    text.remove_prefix(at + from.size());
  }
  return result.append(text);
}

}  // namespace hedgehog::jinja

// Unicode normal forms by utf8proc. NFC looks first for text that it would leave alone, which is nearly all text.
#include "hedgehog/tokenizer/normalizer.h"

#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/regex.h"
#include "hedgehog/tokenizer/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

namespace hedgehog {
namespace {

void append_normal_form(std::string_view text, int options, std::string& output) {
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()), &result,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | options));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(result, &std::free);
  check(size >= 0, "Unicode normalization of {} bytes: {}", text.size(), utf8proc_errmsg(size));
  output.append(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
}

// The normal form as the library gives it: characters that its tables don't have yet stay, and separate what stands around
// them. (For NFKC and NFKD this holds for marks and canonical compositions only.)
std::string normal_form(std::string_view text, int options) {
  const CharacterClasses& classes = CharacterClasses::get();
  std::string output;
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_character(text.data() + i);
    if (classes[c.value] & CharacterClasses::kUnnormalized) {
      append_normal_form(text.substr(done, i - done), options, output);
      output.append(text.substr(i, c.bytes));
      done = i + c.bytes;
    }
    i += c.bytes;
  }
  append_normal_form(text.substr(done), options, output);
  return output;
}

// Where NFC may change something: the first character of kind kNormalizing from `position` on, or the end.
std::size_t next_change(std::string_view text, std::size_t position) {
  const CharacterClasses& classes = CharacterClasses::get();
  while (position < text.size()) {
    const auto byte = static_cast<unsigned char>(text[position]);
    if (byte < 0xCC) {  // U+0000 to U+02FF: stable unless a mark follows
      position += byte < 0x80 ? 1 : 2;
      continue;
    }
    const CodePoint c = decode_character(text.data() + position);
    if (classes[c.value] & CharacterClasses::kNormalizing) {
      break;
    }
    position += c.bytes;
  }
  return position;
}

// Normalizes stretches only: from the ASCII character before a change to the next one. ASCII never composes with what stands
// before it, so a stretch that begins with it is independent of the rest.
std::string_view nfc(std::string_view text, std::string& buffer) {
  std::size_t change = next_change(text, 0);
  if (change == text.size()) {
    return text;
  }
  std::string result;
  result.reserve(text.size());
  std::size_t done = 0;
  while (change < text.size()) {
    std::size_t begin = change;
    while (begin > done) {
      begin = previous_character(text, begin);
      if (static_cast<unsigned char>(text[begin]) < 0x80) {
        break;
      }
    }
    std::size_t end = change;
    while (end < text.size() && static_cast<unsigned char>(text[end]) >= 0x80) {
      ++end;
    }
    result.append(text.substr(done, begin - done));
    result.append(normal_form(text.substr(begin, end - begin), UTF8PROC_COMPOSE));
    done = end;
    change = next_change(text, end);
  }
  result.append(text.substr(done));
  buffer = std::move(result);
  return buffer;
}

std::string replace_all(std::string_view text, const std::vector<Span>& matches, const std::string& content) {
  std::string result;
  std::size_t done = 0;
  for (const Span& match : matches) {
    result.append(text.substr(done, match.begin - done)).append(content);
    done = match.end;
  }
  return result.append(text.substr(done));
}

// A string as a regular expression that matches it and nothing else.
std::string escaped(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c & 0x80);
    pattern.append(plain ? "" : "\\").append(1, c);
  }
  return pattern;
}

}  // namespace

Normalizer::Normalizer(const nlohmann::json& description) {
  if (!description.is_null()) {
    add(description, 0);
  }
}

void Normalizer::add(const nlohmann::json& description, int depth) {
  check(depth < kMaximumNesting, "tokenizer.json: normalizer is nested deeper than {}", kMaximumNesting);
  const std::string type = string_field(description, "type", "normalizer");
  const auto add_form = [this](int options) {
    steps_.emplace_back([options](std::string_view text) { return normal_form(text, options); });
  };
  only_nfc_ = steps_.empty() && type == "NFC";
  if (type == "Sequence") {
    for (const auto& part : array_field(description, "normalizers", "normalizer")) {
      add(part, depth + 1);
    }
  } else if (type == "NFC") {
    add_form(UTF8PROC_COMPOSE);
  } else if (type == "NFD") {
    add_form(UTF8PROC_DECOMPOSE);
  } else if (type == "NFKC") {
    add_form(UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
  } else if (type == "NFKD") {
    add_form(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  } else if (type == "Prepend") {
    steps_.emplace_back([prefix = string_field(description, "prepend", "Prepend")](std::string_view text) {
      return text.empty() ? std::string() : prefix + std::string(text);
    });
  } else if (type == "Replace") {
    const nlohmann::json& pattern = object_field(description, "pattern", "Replace");
    const bool is_string = pattern.contains("String");
    const std::string source = string_field(pattern, is_string ? "String" : "Regex", "Replace pattern");
    const Regex regex(is_string ? escaped(source) : source);
    steps_.emplace_back([regex, content = string_field(description, "content", "Replace")](std::string_view text) {
      return replace_all(text, regex.find_all(text), content);
    });
  } else {
    fail("tokenizer.json: unknown normalizer '{}'", type);
  }
}

std::string_view Normalizer::apply(std::string_view text, std::string& buffer) const {
  if (steps_.empty()) {
    return text;
  }
  if (only_nfc_) {
    return nfc(text, buffer);
  }
  for (const auto& step : steps_) {
    buffer = step(text);
    text = buffer;
  }
  return text;
}

}  // namespace hedgehog

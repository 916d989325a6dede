// Unicode normal forms by utf8proc. NFC looks first for text that it would leave alone, which is nearly all text.
#include "hedgehog/tokenizer/normal_form.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

namespace hedgehog {
namespace {

int options_of(NormalForm form) {
  switch (form) {
    case NormalForm::kNfc:
      return UTF8PROC_COMPOSE;
    case NormalForm::kNfd:
      return UTF8PROC_DECOMPOSE;
    case NormalForm::kNfkc:
      return UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    case NormalForm::kNfkd:
      break;
  }
  return UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
}

void append_normal_form(std::string_view text, int options, std::string& output) {
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()), &result,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | options));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(result, &std::free);
  check(size >= 0, "Unicode normalization of {} bytes: {}", text.size(), utf8proc_errmsg(size));
  output.append(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
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

}  // namespace

std::string normal_form(std::string_view text, NormalForm form) {
  const int options = options_of(form);
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
    result.append(normal_form(text.substr(begin, end - begin), NormalForm::kNfc));
    done = end;
    change = next_change(text, end);
  }
  result.append(text.substr(done));
  buffer = std::move(result);
  return buffer;
}

}  // namespace hedgehog

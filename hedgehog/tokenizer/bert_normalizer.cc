#include "hedgehog/tokenizer/bert_normalizer.h"

#include "hedgehog/tokenizer/bert_characters.h"
#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/normal_form.h"

#include <algorithm>

namespace hedgehog {
namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string without_accents(std::string_view text) {
  const BertCharacters& classes = BertCharacters::get();
  const std::string decomposed = normal_form(text, NormalForm::kNfd);
  std::string result;
  result.reserve(decomposed.size());
  for (std::size_t i = 0; i < decomposed.size();) {
    const CodePoint c = decode_character(decomposed.data() + i);
    if (!(classes[c.value] & BertCharacters::kMark)) {
      result.append(decomposed, i, c.bytes);
    }
    i += c.bytes;
  }
  return result;
}

}  // namespace

BertNormalizer::BertNormalizer(const nlohmann::json& description)
    : clean_text_(flag_field(description, "clean_text", true)),
      handle_chinese_chars_(flag_field(description, "handle_chinese_chars", true)),
      strip_accents_(flag_field(description, "strip_accents", flag_field(description, "lowercase", true))),
      lowercase_(flag_field(description, "lowercase", true)) {}

std::string BertNormalizer::operator()(std::string_view text) const {
  std::string result = cleaned(text);
  if (strip_accents_ && !is_ascii(result)) {
    result = without_accents(result);
  }
  return lowercase_ ? lowercase(result) : result;
}

std::string BertNormalizer::cleaned(std::string_view text) const {
  const BertCharacters& classes = BertCharacters::get();
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_character(text.data() + i);
    const std::uint8_t kind = classes[c.value];
    if (clean_text_ && (kind & BertCharacters::kBlank)) {
      result += ' ';
    } else if (handle_chinese_chars_ && (kind & BertCharacters::kIdeograph)) {
      result.append(" ").append(text, i, c.bytes).append(" ");
    } else if (!clean_text_ || !(kind & BertCharacters::kRemoved)) {
      result.append(text, i, c.bytes);
    }
    i += c.bytes;
  }
  return result;
}

std::string lowercase(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_character(text.data() + i);
    if (c.value < 0x80) {
      result += static_cast<char>(c.value >= 'A' && c.value <= 'Z' ? c.value + 32 : c.value);
    } else {
      append_lowercase(result, c.value);
    }
    i += c.bytes;
  }
  return result;
}

}  // namespace hedgehog

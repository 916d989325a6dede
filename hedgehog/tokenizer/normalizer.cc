#include "hedgehog/tokenizer/normalizer.h"

#include "hedgehog/tokenizer/bert_normalizer.h"
#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/normal_form.h"
#include "hedgehog/tokenizer/replace.h"

namespace hedgehog {

Normalizer::Normalizer(const nlohmann::json& description) {
  if (!description.is_null()) {
    add(description, 0);
  }
}

void Normalizer::add(const nlohmann::json& description, int depth) {
  check(depth < kMaximumNesting, "tokenizer.json: normalizer is nested deeper than {}", kMaximumNesting);
  const std::string type = string_field(description, "type", "normalizer");
  const auto add_form = [this](NormalForm form) {
    steps_.emplace_back([form](std::string_view text) { return normal_form(text, form); });
  };
  only_nfc_ = steps_.empty() && type == "NFC";
  if (type == "Sequence") {
    for (const auto& part : array_field(description, "normalizers", "normalizer")) {
      add(part, depth + 1);
    }
  } else if (type == "NFC") {
    add_form(NormalForm::kNfc);
  } else if (type == "NFD") {
    add_form(NormalForm::kNfd);
  } else if (type == "NFKC") {
    add_form(NormalForm::kNfkc);
  } else if (type == "NFKD") {
    add_form(NormalForm::kNfkd);
  } else if (type == "Prepend") {
    steps_.emplace_back([prefix = string_field(description, "prepend", "Prepend")](std::string_view text) {
      return text.empty() ? std::string() : prefix + std::string(text);
    });
  } else if (type == "Replace") {
    steps_.emplace_back(Replace(description));
  } else if (type == "BertNormalizer") {
    steps_.emplace_back(BertNormalizer(description));
  } else if (type == "Lowercase") {
    steps_.emplace_back(lowercase);
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

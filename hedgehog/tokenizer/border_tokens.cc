#include "hedgehog/tokenizer/border_tokens.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/chat_template.h"
#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/tokenizer_config.h"

namespace hedgehog {
namespace {

using nlohmann::json;

// The added token that the chat template writes behind an assistant's answer.
std::optional<std::int32_t> end_of_turn(const std::string& chat_template, const std::vector<AddedToken>& added) {
  if (chat_template.empty()) {
    return std::nullopt;
  }
  std::string rendered;
  try {
    rendered = render_chat_template(chat_template, {{"user", "Question"}, {"assistant", "EndsHere"}}, false);
  } catch (const Error&) {
    return std::nullopt;  // whoever renders a chat will see the error; end tokens are known without it
  }
  const std::size_t mark = rendered.rfind("EndsHere");
  if (mark == std::string::npos) {
    return std::nullopt;
  }
  const std::string_view rest = std::string_view(rendered).substr(mark + 8);
  std::optional<std::int32_t> best;
  std::size_t length = 0;
  for (const AddedToken& token : added) {
    if (token.special && token.content.size() > length && rest.starts_with(token.content)) {
      best = token.id;
      length = token.content.size();
    }
  }
  return best;
}

}  // namespace

BorderTokens find_border_tokens(const TokenizerSource& source, const std::vector<AddedToken>& added,
                                const std::function<std::optional<std::int32_t>(std::string_view)>& id_of,
                                std::int64_t vocabulary_size) {
  const auto valid = [&](std::optional<std::int64_t> id) -> std::optional<std::int32_t> {
    return id && *id >= 0 && *id < vocabulary_size ? std::optional(static_cast<std::int32_t>(*id)) : std::nullopt;
  };
  const json& config = source.tokenizer_config;
  BorderTokens result;
  result.named = config.is_object() && !config.empty();
  result.begin_text = configured_token(config, "bos_token");
  result.end_text = configured_token(config, "eos_token");
  // config.json's bos is not always the tokenizer's, but its eos is where the model was taught to stop.
  result.begin = id_of(result.begin_text);
  if (!result.begin) {
    result.begin = valid(source.bos);
  }
  const auto eos = source.eos ? valid(source.eos) : id_of(result.end_text);
  if (eos) {
    result.end.push_back(*eos);
  }
  const json* named = result.named ? optional_field(config, "chat_template") : nullptr;
  const std::string chat_template = !source.chat_template.empty()            ? source.chat_template
                                    : named != nullptr && named->is_string() ? named->get<std::string>()
                                                                             : std::string();
  if (const auto turn_end = end_of_turn(chat_template, added); turn_end && turn_end != eos) {
    result.end.push_back(*turn_end);
  }
  return result;
}

}  // namespace hedgehog

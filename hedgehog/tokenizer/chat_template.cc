// Parse, set the variables that transformers sets, run.
#include "hedgehog/tokenizer/chat_template.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/jinja/evaluator.h"
#include "hedgehog/tokenizer/unicode.h"

namespace hedgehog {
namespace {

constexpr std::size_t kMaximumTemplate = std::size_t{1} << 20;

std::string valid(std::string_view text) {
  std::string buffer;
  return std::string(replace_broken_utf8(text, buffer));
}

}  // namespace

std::string render_chat_template(std::string_view source, const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                 std::string_view bos_token, std::string_view eos_token) {
  using jinja::Value;
  check(source.size() <= kMaximumTemplate, "chat template: {} bytes, more than the {} allowed", source.size(),
        kMaximumTemplate);
  const jinja::Body body = jinja::parse(jinja::tokenize(valid(source)));
  std::vector<Value> list;
  for (const ChatMessage& message : messages) {
    list.push_back(Value::dict({{"role", valid(message.role)}, {"content", valid(message.content)}}));
  }
  return jinja::Evaluator().run(body, {{"messages", Value::list(std::move(list))},
                                       {"tools", Value::none()},
                                       {"documents", Value::none()},
                                       {"add_generation_prompt", Value(add_generation_prompt)},
                                       {"bos_token", valid(bos_token)},
                                       {"eos_token", valid(eos_token)}});
}

}  // namespace hedgehog

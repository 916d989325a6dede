// Renders a model's chat template: the part of Jinja that templates of Hugging Face checkpoints use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

/// Equal to transformers' apply_chat_template(tokenize=False). Throws Error with the line for syntax that is not known,
/// and for the template's own raise_exception.
std::string render_chat_template(std::string_view source, const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                 std::string_view bos_token = "", std::string_view eos_token = "");

}  // namespace hedgehog

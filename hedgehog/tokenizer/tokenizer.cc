// The pipeline of tokenizer.json: added tokens, normalizer, pre-tokenizer, model, post-processor; and back by a table of bytes.
#include "hedgehog/tokenizer/tokenizer.h"

#include "hedgehog/tokenizer/added_tokens.h"
#include "hedgehog/tokenizer/chat_template.h"
#include "hedgehog/tokenizer/gguf_tokenizer.h"
#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/post_processor.h"
#include "hedgehog/tokenizer/pre_tokenizer.h"
#include "hedgehog/tokenizer/unicode.h"

#include <algorithm>
#include <set>

namespace hedgehog {
namespace {

using nlohmann::json;

const json& part_of(const json& description, const char* name) {
  static const json none;
  const json* part = optional_field(description, name);
  return part == nullptr ? none : *part;
}

// Whether the decoder maps tokens back to bytes. Without a decoder the library joins the tokens' texts with blanks.
bool decodes_bytes(const json& decoder, int depth = 0) {
  if (decoder.is_null()) {
    return false;
  }
  check(depth < kMaximumNesting, "tokenizer.json: decoder is nested deeper than {}", kMaximumNesting);
  const std::string type = string_field(decoder, "type", "decoder");
  if (type == "ByteLevel") {
    return true;
  }
  check(type == "Sequence", "tokenizer.json: unknown decoder '{}'", type);
  const json& parts = array_field(decoder, "decoders", "decoder");
  check(parts.size() == 1, "tokenizer.json: decoder: a Sequence of {} decoders is not known", parts.size());
  return decodes_bytes(parts[0], depth + 1);
}

class ByteLevelTokenizer final : public Tokenizer {
 public:
  ByteLevelTokenizer(const json& description, const TokenizerSource& source)
      : model_(field(description, "model", "the file")),
        normalizer_(part_of(description, "normalizer")),
        pre_tokenizer_(part_of(description, "pre_tokenizer")),
        post_processor_(read_post_processor(part_of(description, "post_processor"))),
        added_(read_added_tokens(part_of(description, "added_tokens"), model_)),
        plain_matcher_(make_matcher(added_, false, normalizer_)),
        normalized_matcher_(make_matcher(added_, true, normalizer_)),
        joins_with_blanks_(!decodes_bytes(part_of(description, "decoder"))) {
    fill_tables();
    find_begin_and_end(source);
  }

  std::vector<std::int32_t> encode(std::string_view text, bool add_special) const override {
    std::vector<std::int32_t> ids;
    ids.reserve(text.size() / 3 + 8);
    if (add_special) {
      ids.insert(ids.end(), post_processor_.prefix.begin(), post_processor_.prefix.end());
    }
    std::string clean_buffer, normal_buffer;
    const auto add_id = [&](std::int32_t id) { ids.push_back(id); };
    auto add_word = [&](std::string_view word) { model_.encode_word(word, ids); };
    const auto add_words = [&](std::string_view segment) { pre_tokenizer_.split(segment, add_word); };
    const auto add_segment = [&](std::string_view segment) {
      normalized_matcher_.split(normalizer_.apply(segment, normal_buffer), add_words, add_id);
    };
    plain_matcher_.split(replace_broken_utf8(text, clean_buffer), add_segment, add_id);
    if (add_special) {
      ids.insert(ids.end(), post_processor_.suffix.begin(), post_processor_.suffix.end());
    }
    return ids;
  }

  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const override {
    std::string bytes;
    bool first = true;
    for (const std::int32_t id : ids) {
      if (id < 0 || static_cast<std::size_t>(id) >= tokens_.size() || !tokens_[id].exists ||
          (skip_special && tokens_[id].special)) {
        continue;
      }
      if (joins_with_blanks_ && !first) {
        bytes += ' ';
      }
      bytes.append(token_bytes_, tokens_[id].offset, tokens_[id].size);
      first = false;
    }
    return bytes;
  }

  std::optional<std::int32_t> token_to_id(std::string_view token) const override {
    for (const AddedToken& added : added_) {
      if (added.content == token) {
        return added.id;
      }
    }
    const auto found = model_.vocabulary().find(token);
    return found == model_.vocabulary().end() ? std::nullopt : std::optional(found->second);
  }

  std::int64_t vocabulary_size() const override { return static_cast<std::int64_t>(tokens_.size()); }
  const std::vector<std::int32_t>& end_tokens() const override { return end_tokens_; }
  std::optional<std::int32_t> begin_token() const override { return begin_token_; }
  std::string begin_text() const override { return begin_text_; }
  std::string end_text() const override { return end_text_; }

 private:
  struct TokenBytes {
    std::uint32_t offset = 0, size = 0;
    bool exists = false, special = false;
  };

  void set_bytes(std::int32_t id, const std::string& text) {
    const std::string bytes = joins_with_blanks_ ? text : token_text_to_bytes(text);
    check(token_bytes_.size() + bytes.size() <= 0xFFFFFFFF, "tokenizer.json: the vocabulary is larger than 4 GiB");
    tokens_[id] = {static_cast<std::uint32_t>(token_bytes_.size()), static_cast<std::uint32_t>(bytes.size()), true, false};
    token_bytes_ += bytes;
  }

  void fill_tables() {
    std::int32_t end = model_.id_end();
    for (const AddedToken& token : added_) {
      end = std::max(end, token.id + 1);
    }
    tokens_.resize(static_cast<std::size_t>(end));
    for (const auto& [text, id] : model_.vocabulary()) {
      set_bytes(id, text);
    }
    std::set<std::string> specials;
    for (const AddedToken& token : added_) {
      if (token.special) {
        specials.insert(token.content);
      }
    }
    // The library decodes a normalized token to its normalized content, and asks for that among the special ones.
    for (const AddedToken& token : added_) {
      std::string buffer;
      const std::string text(token.normalized ? normalizer_.apply(token.content, buffer) : std::string_view(token.content));
      set_bytes(token.id, text);
      tokens_[token.id].special = specials.contains(text);
    }
  }

  // A token that tokenizer_config.json names: a string, or an object with "content".
  static std::string configured_text(const json& config, const char* name) {
    const json* value = optional_field(config, name);
    if (value != nullptr && value->is_object()) {
      value = optional_field(*value, "content");
    }
    return value != nullptr && value->is_string() ? value->get<std::string>() : "";
  }

  void find_begin_and_end(const TokenizerSource& source) {
    const auto valid = [this](std::optional<std::int64_t> id) -> std::optional<std::int32_t> {
      return id && *id >= 0 && *id < vocabulary_size() ? std::optional(static_cast<std::int32_t>(*id)) : std::nullopt;
    };
    const json& config = source.tokenizer_config;
    begin_text_ = configured_text(config, "bos_token");
    end_text_ = configured_text(config, "eos_token");
    // config.json's bos is not always the tokenizer's, but its eos is where the model was taught to stop.
    begin_token_ = token_to_id(begin_text_);
    if (!begin_token_) begin_token_ = valid(source.bos);
    const auto eos = source.eos ? valid(source.eos) : token_to_id(end_text_);
    if (eos) {
      end_tokens_.push_back(*eos);
    }
    if (!config.is_object() || config.empty()) {
      begin_text_ = Tokenizer::begin_text();
      end_text_ = Tokenizer::end_text();
    }
    const json* named = optional_field(source.tokenizer_config, "chat_template");
    const std::string chat_template = !source.chat_template.empty()            ? source.chat_template
                                      : named != nullptr && named->is_string() ? named->get<std::string>()
                                                                               : std::string();
    if (const auto turn_end = end_of_turn(chat_template); turn_end && turn_end != eos) {
      end_tokens_.push_back(*turn_end);
    }
  }

  // The added token that the chat template writes behind an assistant's answer.
  std::optional<std::int32_t> end_of_turn(const std::string& chat_template) const {
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
    for (const AddedToken& token : added_) {
      if (token.special && token.content.size() > length && rest.starts_with(token.content)) {
        best = token.id;
        length = token.content.size();
      }
    }
    return best;
  }

  Bpe model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  PostProcessor post_processor_;
  std::vector<AddedToken> added_;
  AddedTokenMatcher plain_matcher_, normalized_matcher_;
  bool joins_with_blanks_;
  std::string token_bytes_;
  std::vector<TokenBytes> tokens_;
  std::vector<std::int32_t> end_tokens_;
  std::optional<std::int32_t> begin_token_;
  std::string begin_text_, end_text_;
};

}  // namespace

std::string Tokenizer::begin_text() const {
  const std::optional<std::int32_t> begin = begin_token();
  return begin ? decode(std::span(&*begin, 1)) : "";
}

std::string Tokenizer::end_text() const {
  return end_tokens().empty() ? "" : decode(std::span(end_tokens()).first(1));
}

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerSource& source) {
  try {
    if (source.tokenizer_json) {
      return std::make_unique<ByteLevelTokenizer>(*source.tokenizer_json, source);
    }
    return std::make_unique<ByteLevelTokenizer>(tokenizer_json_of(source), source);
  } catch (const json::exception& error) {
    fail("tokenizer.json: {}", error.what());
  }
}

}  // namespace hedgehog

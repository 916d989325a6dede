// Each step rewrites the list of tokens; in the end they are joined.
#include "hedgehog/tokenizer/decoder.h"

#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/metaspace.h"
#include "hedgehog/tokenizer/replace.h"
#include "hedgehog/tokenizer/unicode.h"

#include <array>
#include <charconv>
#include <string_view>
#include <utility>

namespace hedgehog {
namespace {

using Tokens = std::vector<std::string>;
using Pair = std::pair<std::string_view, std::string_view>;

// What `cleanup` of WordPiece changes in each token.
constexpr std::array<Pair, 11> kCleaned = {{
    {" .", "."},
    {" ?", "?"},
    {" !", "!"},
    {" ,", ","},
    {" ' ", "'"},
    {" n't", "n't"},
    {" 'm", "'m"},
    {" do not", " don't"},
    {" 's", "'s"},
    {" 've", "'ve"},
    {" 're", "'re"},
}};

// "<0x0A>" to 10; -1 for another text.
int byte_of(std::string_view token) {
  int value = -1;
  if (token.size() == 6 && token.starts_with("<0x") && token.ends_with('>')) {
    const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
    value = error == std::errc() && end == token.data() + 5 ? value : -1;
  }
  return value;
}

// A run of byte tokens becomes one token of these bytes.
void join_bytes(Tokens& tokens) {
  Tokens result;
  bool in_run = false;
  for (std::string& token : tokens) {
    const int byte = byte_of(token);
    if (byte >= 0 && in_run) {
      result.back() += static_cast<char>(byte);
    } else {
      result.push_back(byte >= 0 ? std::string(1, static_cast<char>(byte)) : std::move(token));
    }
    in_run = byte >= 0;
  }
  tokens = std::move(result);
}

void fuse(Tokens& tokens) {
  std::string whole;
  for (const std::string& token : tokens) {
    whole += token;
  }
  tokens = {std::move(whole)};
}

struct Strip {
  std::string content;  // one character
  std::uint64_t start, stop;

  void operator()(Tokens& tokens) const {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (std::uint64_t i = 0; i < start && rest.starts_with(content); ++i) {
        rest.remove_prefix(content.size());
      }
      for (std::uint64_t i = 0; i < stop && rest.ends_with(content); ++i) {
        rest.remove_suffix(content.size());
      }
      token = std::string(rest);
    }
  }
};

std::string replace_text(const std::string& text, std::string_view from, std::string_view to) {
  std::string result;
  std::size_t done = 0;
  for (const Span& match : find_all(text, from)) {
    result.append(text, done, match.begin - done).append(to);
    done = match.end;
  }
  return result.append(text, done);
}

// Blanks between words, none before "##"; `cleanup` takes them away before punctuation and English contractions too.
struct WordPieceJoin {
  std::string prefix;
  bool cleanup;

  void operator()(Tokens& tokens) const {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) {
        tokens[i] = tokens[i].starts_with(prefix) ? tokens[i].substr(prefix.size()) : " " + tokens[i];
      }
      if (cleanup) {
        for (const auto& [from, to] : kCleaned) {
          tokens[i] = replace_text(tokens[i], from, to);
        }
      }
    }
  }
};

void join_metaspace(const Metaspace& options, Tokens& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool at_start = i == 0 && options.prepend != Metaspace::Prepend::kNever;
    tokens[i] = replace_text(tokens[i], options.mark, at_start ? "" : " ");
  }
}

}  // namespace

Decoder::Decoder(const nlohmann::json& description) : joins_with_blanks_(description.is_null()) {
  if (!description.is_null()) {
    add(description, 0);
  }
  check(!byte_level_ || steps_.empty(), "tokenizer.json: decoder: ByteLevel in a Sequence with others is not known");
}

void Decoder::add(const nlohmann::json& description, int depth) {
  check(depth < kMaximumNesting, "tokenizer.json: decoder is nested deeper than {}", kMaximumNesting);
  const std::string type = string_field(description, "type", "decoder");
  if (type == "Sequence") {
    for (const auto& part : array_field(description, "decoders", "decoder")) {
      add(part, depth + 1);
    }
  } else if (type == "ByteLevel") {
    check(!byte_level_, "tokenizer.json: decoder: two ByteLevel in a Sequence are not known");
    byte_level_ = true;
  } else if (type == "ByteFallback") {
    steps_.emplace_back(join_bytes);
  } else if (type == "Fuse") {
    steps_.emplace_back(fuse);
  } else if (type == "Strip") {
    Strip strip{string_field(description, "content", "Strip"), count_field(description, "start", "Strip"),
                count_field(description, "stop", "Strip")};
    check(!strip.content.empty() && decode_character(strip.content.data()).bytes == strip.content.size(),
          "tokenizer.json: decoder: Strip: 'content' should be one character, found '{}'", strip.content.substr(0, 80));
    steps_.emplace_back(std::move(strip));
  } else if (type == "Replace") {
    steps_.emplace_back([replace = Replace(description)](Tokens& tokens) {
      std::string buffer;
      for (std::string& token : tokens) {
        token = replace(replace_broken_utf8(token, buffer));
      }
    });
  } else if (type == "Metaspace") {
    steps_.emplace_back([options = Metaspace(description, "decoder")](Tokens& tokens) { join_metaspace(options, tokens); });
  } else if (type == "WordPiece") {
    steps_.emplace_back(
        WordPieceJoin{string_field(description, "prefix", "WordPiece decoder"), flag_field(description, "cleanup", true)});
  } else {
    fail("tokenizer.json: unknown decoder '{}'", type.substr(0, 80));
  }
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  for (const auto& step : steps_) {
    step(tokens);
  }
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (joins_with_blanks_ && i > 0) {
      text += ' ';
    }
    text += tokens[i];
  }
  return text;
}

}  // namespace hedgehog

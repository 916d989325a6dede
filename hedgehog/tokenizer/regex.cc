// PCRE2 with JIT; each thread has match data and a JIT stack of its own.
#include "hedgehog/tokenizer/regex.h"

#include "hedgehog/base/error.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

namespace hedgehog {
namespace {

constexpr std::size_t kMaximumPattern = std::size_t{1} << 16;
constexpr std::size_t kMaximumJitStack = std::size_t{8} << 20;
constexpr std::string_view kBlankClass =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

struct MatchState {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(std::size_t{32} << 10, kMaximumJitStack, nullptr);

  MatchState() {
    if (context != nullptr && stack != nullptr) {
      pcre2_jit_stack_assign(context, nullptr, stack);
    }
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
  ~MatchState() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// PCRE2's \s counts U+180E in, which has not been a blank since Unicode 6.3: write White_Space out. \S inside a class stays,
// since a class cannot hold the complement of a set; it then differs in that one character.
std::string translate(std::string_view pattern) {
  std::string result;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's') {
        result.append(in_class ? "" : "[").append(kBlankClass).append(in_class ? "" : "]");
      } else if (next == 'S' && !in_class) {
        result.append("[^").append(kBlankClass).append("]");
      } else {
        result.append({c, next});
      }
      continue;
    }
    if (c == '[' && !in_class) {
      in_class = true;
      result += c;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') {
        result += pattern[++i];
      }
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') {
        result += pattern[++i];
      }
      continue;
    }
    if (c == ']') {
      in_class = false;
    }
    result += c;
  }
  return result;
}

}  // namespace

std::vector<Span> find_all(std::string_view text, std::string_view needle) {
  std::vector<Span> matches;
  for (std::size_t at = text.find(needle); at != std::string_view::npos; at = text.find(needle, at + needle.size())) {
    matches.push_back({at, at + needle.size()});
  }
  return matches;
}

Regex::Regex(std::string_view pattern) : pattern_(pattern) {
  check(pattern.size() <= kMaximumPattern, "a regular expression of {} bytes, more than the {} allowed", pattern.size(),
        kMaximumPattern);
  const std::string translated = translate(pattern);
  int error = 0;
  std::size_t offset = 0;
  std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(pcre2_compile_context_create(nullptr),
                                                                                   &pcre2_compile_context_free);
  pcre2_set_parens_nest_limit(context.get(), 100);
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  check(code != nullptr, "regular expression '{}': {} (near byte {})", pattern, message_of(error), offset);
  code_ = std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it fails, pcre2_match interprets
}

std::vector<Span> Regex::find_all(std::string_view text) const {
  thread_local MatchState state;
  check(state.data != nullptr, "no memory to match a regular expression");
  std::vector<Span> matches;
  std::size_t start = 0;
  std::size_t last_end = std::string_view::npos;
  while (start <= text.size()) {
    const int found = pcre2_match(static_cast<const pcre2_code*>(code_.get()), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), start, PCRE2_NO_UTF_CHECK, state.data, state.context);
    if (found == PCRE2_ERROR_NOMATCH) {
      break;
    }
    check(found >= 0, "regular expression '{}' on a text of {} bytes: {}", pattern_, text.size(), message_of(found));
    const std::size_t* bounds = pcre2_get_ovector_pointer(state.data);
    const Span match{std::min(bounds[0], bounds[1]), bounds[1]};  // \K in a look-ahead can put the start behind the end
    if (match.end == match.begin && match.end == last_end) {
      ++start;
      while (start < text.size() && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) {
        ++start;
      }
      continue;
    }
    check(last_end == std::string_view::npos || match.begin >= last_end, "regular expression '{}': matches overlap", pattern_);
    matches.push_back(match);
    start = last_end = match.end;
  }
  return matches;
}

}  // namespace hedgehog

#include "hedgehog/inference/text_stream.h"

#include <algorithm>
#include <utility>

namespace hedgehog {
namespace {

enum class Utf8 { kWhole, kCut, kBroken };

// The first character of `text` (not empty): whether it is whole, and how many bytes it has (kBroken: how many bytes one U+FFFD
// stands for). Table 3-7 of the Unicode standard: the second byte's range depends on the first.
std::pair<Utf8, std::size_t> first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) {
    return {Utf8::kWhole, 1};
  }
  std::size_t length = 0;
  unsigned char low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    low = lead == 0xE0 ? 0xA0 : low;
    high = lead == 0xED ? 0x9F : high;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    low = lead == 0xF0 ? 0x90 : low;
    high = lead == 0xF4 ? 0x8F : high;
  } else {
    return {Utf8::kBroken, 1};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) {
      return {Utf8::kCut, i};
    }
    if (byte(i) < low || byte(i) > high) {
      return {Utf8::kBroken, i};
    }
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8::kWhole, length};
}

// The length of the longest end of `text` that begins `word` without being all of it.
std::size_t overlap(std::string_view text, std::string_view word) {
  for (std::size_t length = std::min(text.size(), word.size() - 1); length > 0; --length) {
    if (text.ends_with(word.substr(0, length))) {
      return length;
    }
  }
  return 0;
}

}  // namespace

TextStream::TextStream(std::vector<std::string> stop) : stop_(std::move(stop)) {
  std::erase(stop_, "");
}

std::string TextStream::push(std::string_view bytes) {
  if (stopped_) {
    return {};
  }
  bytes_ += bytes;
  decode(false);
  return take();
}

std::string TextStream::finish() {
  if (stopped_) {
    return {};
  }
  decode(true);
  std::string text = take();
  return text + std::exchange(pending_, {});
}

// Moves whole characters from bytes_ to pending_.
void TextStream::decode(bool at_end) {
  std::string_view rest = bytes_;
  while (!rest.empty()) {
    const auto [kind, length] = first_character(rest);
    if (kind == Utf8::kCut && !at_end) {
      break;
    }
    pending_ += kind == Utf8::kWhole ? rest.substr(0, length) : "\xEF\xBF\xBD";
    rest.remove_prefix(length);
  }
  bytes_.erase(0, bytes_.size() - rest.size());
}

// The part of pending_ that no stop string can begin in, or all before the first one.
std::string TextStream::take() {
  std::size_t end = std::string::npos, held = 0;
  for (const std::string& stop : stop_) {
    end = std::min(end, pending_.find(stop));
    held = std::max(held, overlap(pending_, stop));
  }
  stopped_ = end != std::string::npos;
  std::string text = pending_.substr(0, stopped_ ? end : pending_.size() - held);
  pending_.erase(0, stopped_ ? pending_.size() : text.size());
  return text;
}

}  // namespace hedgehog

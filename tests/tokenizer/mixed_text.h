// The mixed text of the tokenizer's tests: megabytes of languages, code, emoji, blanks and broken bytes out of a seed.
// tests/fixtures/tokenizer/mixed_text.py is the same generator; every step must stay the same in both, to the order of the
// draws.
#pragma once

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/tokenizer/unicode.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog::testing {

class MixedText {
 public:
  static constexpr std::size_t kChunkBytes = 65536;

  /// `fixtures`: the folder tests/fixtures/tokenizer.
  explicit MixedText(const std::filesystem::path& fixtures) {
    const std::string file = read_text_file(fixtures / "mixed_words.txt");
    std::vector<std::string>* current = nullptr;
    for (std::size_t begin = 0; begin < file.size();) {
      const std::size_t end = file.find('\n', begin);
      const std::string line = file.substr(begin, end - begin);
      begin = end + 1;
      if (line.starts_with("# ")) {
        current = &words_[line.substr(2)];
      } else if (!line.empty()) {
        current->push_back(unescaped(line));
      }
    }
  }

  /// 64 KiB, the same for the same index.
  std::string chunk(std::uint64_t index) {
    state_ = (index + 1) * 0x9E3779B97F4A7C15ULL;
    out_.clear();
    while (out_.size() < kChunkBytes) {
      segment();
    }
    return out_.substr(0, kChunkBytes);
  }

 private:
  static std::string unescaped(const std::string& line) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '\\') {
        ++i;
        text += line[i] == 'n' ? '\n' : line[i] == 't' ? '\t' : line[i] == 's' ? ' ' : line[i];
      } else {
        text += line[i];
      }
    }
    return text;
  }

  std::uint64_t below(std::uint64_t bound) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state_ >> 33) % bound;
  }

  const std::string& pick(std::string_view name) {
    const auto& words = words_.find(name)->second;
    return words[below(words.size())];
  }

  void repeat(std::string_view word, std::uint64_t count) {
    for (; count > 0; --count) {
      out_ += word;
    }
  }

  void segment() {
    const std::uint64_t kind = below(100);
    if (kind < 46) {
      prose();
    } else if (kind < 60) {
      const std::string& word = pick("code");
      repeat(word, 1 + below(3));
    } else if (kind < 66) {
      numbers();
    } else if (kind < 72) {
      const std::string& word = pick("blank");
      const std::uint64_t limit = below(8) == 0 ? 300 : 8;
      repeat(word, 1 + below(limit));
    } else if (kind < 77) {
      for (std::uint64_t n = 1 + below(5); n > 0; --n) {
        out_ += pick("contraction") + " ";
      }
    } else if (kind < 81) {
      out_ += below(3) == 0 ? " " : "";
      out_ += pick("special");
      out_ += below(3) == 0 ? "  \n" : "";
    } else if (kind < 85) {
      for (std::uint64_t n = 1 + below(6); n > 0; --n) {
        out_ += pick("emoji");
      }
    } else if (kind < 89) {
      out_ += pick("latin");
      for (std::uint64_t n = 1 + below(4); n > 0; --n) {
        append_utf8(out_, static_cast<char32_t>(0x300 + below(0x70)));
      }
    } else if (kind < 93) {
      code_points();
    } else if (kind < 96) {
      broken();
    } else if (kind < 98) {
      const std::string_view character = std::string_view("a=-_*#0. ").substr(below(9), 1);
      const std::uint64_t limit = below(6) == 0 ? 3000 : 40;
      repeat(character, 1 + below(limit));
    } else {
      repeat("#", 1 + below(6));
      out_ += " " + pick("latin") + "\n\n";
    }
  }

  void prose() {
    static constexpr std::string_view kScripts[] = {"latin",      "cyrillic", "greek", "arabic", "hebrew",
                                                    "devanagari", "bengali",  "thai",  "cjk",    "hangul"};
    const std::string_view script = below(2) == 0 ? kScripts[0] : kScripts[1 + below(9)];
    const bool dense = script == "thai" || script == "cjk";
    const std::uint64_t count = 5 + below(36);
    for (std::uint64_t i = 0; i < count; ++i) {
      if (i > 0) {
        if (below(12) == 0) {
          out_ += pick("punctuation") + " ";
        } else if (!dense || below(3) == 0) {
          out_ += " ";
        }
      }
      std::string word = pick(script);
      const std::uint64_t mode = below(16);
      for (std::size_t k = 0; k < (mode == 0 ? word.size() : mode == 1 ? 1 : 0); ++k) {
        word[k] = word[k] >= 'a' && word[k] <= 'z' ? static_cast<char>(word[k] - 32) : word[k];
      }
      out_ += word;
    }
    out_ += below(4) == 0 ? ".\n" : ". ";
  }

  void numbers() {
    for (std::uint64_t n = 1 + below(6); n > 0; --n) {
      if (below(2) == 0) {
        out_ += pick("number");
      } else {
        for (std::uint64_t digits = 1 + below(12); digits > 0; --digits) {
          out_ += static_cast<char>('0' + below(10));
        }
      }
      static constexpr std::string_view kSeparators[] = {" ", ",", "", ".", "\n"};
      out_ += kSeparators[below(5)];
    }
  }

  void code_points() {
    for (std::uint64_t n = 5 + below(40); n > 0; --n) {
      const std::uint64_t mode = below(4);
      const std::uint64_t value = mode == 0   ? below(0x110000)
                                  : mode == 1 ? below(0x3000)
                                  : mode == 2 ? 0x2000 + below(0xE00)
                                              : below(0x20000);
      append_utf8(out_, value >= 0xD800 && value <= 0xDFFF ? 0xFFFD : static_cast<char32_t>(value));
    }
  }

  void broken() {
    static constexpr std::string_view kBroken[] = {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80",
                                                   "\xE2\x82", "\xF0\x9F\x98", "\xFF\xFE"};
    const std::uint64_t mode = below(4);
    if (mode == 0 || mode == 3) {
      for (std::uint64_t n = 1 + below(12); n > 0; --n) {
        out_ += static_cast<char>(mode == 0 ? below(256) : 0x80 + below(64));
      }
    } else if (mode == 1) {
      const std::string& word = pick("cjk");
      out_ += word.substr(0, word.size() - 1);
    } else {
      out_ += kBroken[below(std::size(kBroken))];
    }
  }

  std::map<std::string, std::vector<std::string>, std::less<>> words_;
  std::uint64_t state_ = 0;
  std::string out_;
};

/// FNV-1a over items instead of bytes.
struct Fingerprint {
  std::uint64_t value = 0xCBF29CE484222325ULL;
  void add(std::uint64_t item) { value = (value ^ item) * 0x100000001B3ULL; }
};

}  // namespace hedgehog::testing

// Damages a file's bytes in the ways that files get damaged or are forged: cut, flipped, overwritten, lengths made huge, pieces
// doubled, removed and moved, text nested deep. The same seed gives the same sequence on every machine.
#pragma once

#include "hedgehog/base/random.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace hedgehog::testing {

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_{seed} {}

  /// A damaged copy of `original`: one to three mutations. what() then tells which, for a test's message.
  std::string mutate(std::string_view original) {
    std::string bytes(original);
    what_.clear();
    for (auto rounds = 1 + random_.below(3); rounds > 0; --rounds) {
      mutate_once(bytes);
    }
    return bytes;
  }

  const std::string& what() const { return what_; }

 private:
  // Half of all positions lie in the first KiB, where binary formats keep their lengths.
  std::size_t position(const std::string& bytes) {
    const std::size_t size = std::max<std::size_t>(bytes.size(), 1);
    return random_.below(random_.below(2) == 0 ? std::min<std::size_t>(size, 1024) : size);
  }

  void note(std::string_view kind, std::size_t where) {
    what_ += std::string(what_.empty() ? "" : ", ") + std::string(kind) + " at " + std::to_string(where);
  }

  void overwrite(std::string& bytes, std::size_t at, std::string_view with) {
    for (std::size_t i = 0; i < with.size() && at + i < bytes.size(); ++i) {
      bytes[at + i] = with[i];
    }
  }

  void mutate_once(std::string& bytes) {
    const std::size_t at = position(bytes);
    const std::size_t length = std::min<std::size_t>(1 + random_.below(64), bytes.size() - std::min(at, bytes.size()));
    switch (random_.below(9)) {
      case 0:
        note("truncated", at);
        bytes.resize(std::min(at, bytes.size()));
        break;
      case 1:
        note("bit flipped", at);
        if (!bytes.empty()) {
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random_.below(8)));
        }
        break;
      case 2:
        note("byte overwritten", at);
        if (!bytes.empty()) {
          bytes[at] = static_cast<char>(random_.below(256));
        }
        break;
      case 3: {
        note("length enlarged", at);
        static constexpr std::array<std::uint64_t, 12> kHuge = {
            ~0ULL,      ~0ULL >> 1,    1ULL << 63, 1ULL << 62,    (1ULL << 61) + 1, 1ULL << 40,
            1ULL << 32, 0xFFFFFFFFULL, 1ULL << 31, 0x7FFFFFFFULL, 100'000'001ULL,   0};
        std::uint64_t value = kHuge[random_.below(kHuge.size())];
        std::string field;
        for (auto width = random_.below(2) == 0 ? 4 : 8; width > 0; --width, value >>= 8) {
          field += static_cast<char>(value & 0xFF);
        }
        overwrite(bytes, at, field);
        break;
      }
      case 4:
        note("piece doubled", at);
        bytes.insert(std::min(at, bytes.size()), bytes.substr(std::min(at, bytes.size()), length));
        break;
      case 5:
        note("piece removed", at);
        bytes.erase(std::min(at, bytes.size()), length);
        break;
      case 6: {
        const std::size_t to = position(bytes);
        note("piece copied to " + std::to_string(to), at);
        overwrite(bytes, to, bytes.substr(std::min(at, bytes.size()), length));
        break;
      }
      case 7:
        mutate_number(bytes, at);
        break;
      default:
        mutate_text(bytes, at);
    }
  }

  // The number as text that follows `at` becomes another.
  void mutate_number(std::string& bytes, std::size_t at) {
    const std::size_t begin = std::min(bytes.find_first_of("0123456789", at), bytes.size());
    const std::size_t end = std::min(bytes.find_first_not_of("0123456789", begin), bytes.size());
    note("number replaced", begin);
    static constexpr std::array<std::string_view, 12> kNumbers = {"18446744073709551615",
                                                                  "9223372036854775807",
                                                                  "-1",
                                                                  "4611686018427387904",
                                                                  "1e999",
                                                                  "0",
                                                                  "2147483648",
                                                                  "0.5",
                                                                  "null",
                                                                  "-0",
                                                                  "99999999999999999999999999",
                                                                  "[1]"};
    bytes.replace(begin, end - begin, kNumbers[random_.below(kNumbers.size())]);
  }

  void mutate_text(std::string& bytes, std::size_t at) {
    static constexpr std::array<std::string_view, 14> kPieces = {"\"", "{",       "}",        "[",    "]",    ",",  ":",
                                                                 "\\", "\\ud800", "\xC0\x80", "\xFF", "true", "{}", "\"\":"};
    std::string piece(kPieces[random_.below(kPieces.size())]);
    if (random_.below(8) == 0) {
      piece = std::string(1 + random_.below(100'000), random_.below(2) == 0 ? '[' : '{');
    }
    note("text inserted", at);
    bytes.insert(std::min(at, bytes.size()), piece);
  }

  Random random_;
  std::string what_;
};

}  // namespace hedgehog::testing

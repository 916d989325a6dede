// `pre_tokenizer` of tokenizer.json: cuts text into the words that byte-pair merges don't cross.
#pragma once

#include <nlohmann/json.hpp>

#include <concepts>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

namespace hedgehog {

/// A reference to a callable that takes a piece; cheaper than std::function, and lives no longer than the call.
class PieceSink {
 public:
  template <typename F>
  requires(!std::same_as<std::remove_cv_t<F>, PieceSink>) PieceSink(F& f)  // NOLINT: implicit on purpose
      : object_(&f), call_([](void* object, std::string_view piece) { (*static_cast<F*>(object))(piece); }) {}
  void operator()(std::string_view piece) const { call_(object_, piece); }

 private:
  void* object_;
  void (*call_)(void*, std::string_view);
};

/// One pre-tokenizer of a sequence: valid UTF-8 in, pieces out.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual void split(std::string_view text, PieceSink sink) const = 0;
};

class PreTokenizer {
 public:
  /// Knows ByteLevel, Split, Digits and Sequence; the last must be ByteLevel. Throws Error that names any other kind.
  explicit PreTokenizer(const nlohmann::json& description);
  /// The pieces in order, none empty. They are still the text's own bytes, not the byte alphabet.
  void split(std::string_view text, PieceSink sink) const { run(0, text, sink); }

 private:
  void run(std::size_t step, std::string_view text, PieceSink sink) const;
  void add(const nlohmann::json& description, int depth);

  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
  bool has_byte_level_ = false;
};

}  // namespace hedgehog

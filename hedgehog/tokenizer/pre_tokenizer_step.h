// One pre-tokenizer of a sequence, and what takes its pieces.
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

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

class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  /// Valid UTF-8 in, pieces out. `at_start`: the text that is being encoded begins with `text`.
  virtual void split(std::string_view text, bool at_start, PieceSink sink) const = 0;
};

}  // namespace hedgehog

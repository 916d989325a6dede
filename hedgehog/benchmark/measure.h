// Measuring: the best time of several calls, forms in turns, and calls that would take too long or not fit left out.
#pragma once

#include "hedgehog/benchmark/forms.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace hedgehog {

struct MeasureConfig {
  double seconds = 0.1;        // at least, of one form in one round
  int rounds = 2;              // in which all forms have their turn
  double longest_seconds = 5;  // calls that are bound to take longer are not made
};

/// What was measured of a form, or of another program. Absent is what was not.
struct FormTime {
  std::string who, detail;
  std::optional<double> seconds;  // of the best call
  std::optional<double> memory;   // bytes at the peak beyond inputs and outputs; decode: with what is carried
};

/// One case: what Hedgehog took, and the others beside it.
struct MeasuredCase {
  std::string what;  // a Work's name, "prefill" or "generate"
  at::ScalarType dtype = at::kFloat;
  std::int64_t length = 0;
  FormTime own;
  std::vector<FormTime> opponents;
  double flops = 0, bytes = 0, tokens = 0;  // of a call; 0: not counted
};

/// The fastest of `call` for `seconds`, at least one. Throws Interrupted when a signal has come.
double best_seconds(const std::function<void()>& call, double seconds);

/// Foresees a call's time from a shorter one of the same form, or from the machine's rate. For leaving calls out only: what it
/// foresees is never reported.
class CallLimit {
 public:
  explicit CallLimit(double longest_seconds) : longest_seconds_(longest_seconds) {}
  /// `flops`: what the call multiplies. `product_rate`: flops a second of the machine, for a form that has not been called yet.
  bool allows(const std::string& form, double flops, double product_rate) const;
  void remember(const std::string& form, double flops, double seconds);

 private:
  double longest_seconds_;
  std::map<std::string, double> rates_;  // flops a second of each form's last call
};

/// `product_rate`: multiplications and additions a second of the problem's dtype. Throws Interrupted when a signal has come.
MeasuredCase measure_attention(const AttentionProblem& problem, const MeasureConfig& config, double product_rate,
                               CallLimit& limit);

}  // namespace hedgehog

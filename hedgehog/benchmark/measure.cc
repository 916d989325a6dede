#include "hedgehog/benchmark/measure.h"

#include "hedgehog/base/interrupt.h"
#include "hedgehog/benchmark/peak_memory.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace hedgehog {
namespace {

// Before a form has been timed it is taken to reach this part of the product rate.
constexpr double kFirstShare = 0.25;
// Of the memory that is free, which an estimate may ask for.
constexpr double kMemoryShare = 0.8;

double timed(const std::function<void()>& call) {
  if (interrupted()) throw Interrupted{};
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A form that is measured: ready, called once, its memory known.
struct Runner {
  PreparedForm prepared;
  FormTime time;
};

/// None if there is not the memory for it after all.
std::optional<Runner> start(const Form& form, const AttentionProblem& problem, const AttentionInput& input) {
  Runner runner{{}, {form.who, form.detail, {}, {}}};
  const bool done = fits([&] {
    runner.prepared = form.prepare(input);
    runner.time.seconds = timed(runner.prepared.call);
    if (const auto growth = peak_growth(runner.prepared.call)) {
      runner.time.memory = std::max(0.0, *growth - output_bytes(problem)) + runner.prepared.carried_bytes;
    }
  });
  return done ? std::optional<Runner>(std::move(runner)) : std::nullopt;
}

bool faster(const FormTime& a, const FormTime& b) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  return a.seconds.value_or(kNever) < b.seconds.value_or(kNever);
}

/// Of the forms with one name the fastest stays.
void add_best(std::vector<FormTime>& times, const FormTime& time) {
  const auto same = std::find_if(times.begin(), times.end(), [&](const FormTime& other) { return other.who == time.who; });
  if (same == times.end()) {
    times.push_back(time);
  } else if (faster(time, *same)) {
    *same = time;
  }
}

}  // namespace

double best_seconds(const std::function<void()>& call, double seconds) {
  double best = std::numeric_limits<double>::infinity(), sum = 0;
  do {
    const double once = timed(call);
    best = std::min(best, once);
    sum += once;
  } while (sum < seconds);
  return best;
}

bool CallLimit::allows(const std::string& key, std::int64_t length, int growth, double flops, double flops_per_second) const {
  const auto last = last_.find(key);
  if (last == last_.end()) return flops / (kFirstShare * flops_per_second) <= longest_seconds_;
  const double ratio = static_cast<double>(length) / static_cast<double>(last->second.length);
  return last->second.seconds * std::pow(ratio, growth) <= longest_seconds_;
}

void CallLimit::remember(const std::string& key, std::int64_t length, double seconds) {
  last_[key] = {length, seconds};
}

MeasuredCase measure_attention(const AttentionProblem& problem, const MeasureConfig& config, double product_rate,
                               CallLimit& limit) {
  const std::vector<Form> forms = forms_of(problem);
  const AttentionInput input = random_input(problem);
  const auto key = [&](const Form& form) {
    return to_string(problem.work) + at::toString(problem.dtype) + form.who + form.detail;
  };
  std::vector<std::optional<Runner>> runners;
  for (const Form& form : forms) {
    const bool allowed = limit.allows(key(form), problem.length, form.growth, form.flops, product_rate) &&
                         form.bytes <= kMemoryShare * available_memory();
    runners.push_back(allowed ? start(form, problem, input) : std::nullopt);
  }
  for (int round = 0; round < config.rounds; ++round) {
    for (std::optional<Runner>& runner : runners) {
      if (!runner) continue;
      runner->time.seconds = std::min(*runner->time.seconds, best_seconds(runner->prepared.call, config.seconds));
    }
  }
  MeasuredCase result;
  result.what = to_string(problem.work);
  result.dtype = problem.dtype;
  result.length = problem.length;
  result.flops = linear_flops(problem);
  result.tokens = static_cast<double>(problem.batch * problem.rows());
  if (problem.work == Work::kDecode) result.bytes = decode_bytes(problem);
  for (std::size_t i = 0; i < forms.size(); ++i) {
    const FormTime time = runners[i] ? runners[i]->time : FormTime{forms[i].who, forms[i].detail, {}, {}};
    if (time.seconds) limit.remember(key(forms[i]), problem.length, *time.seconds);
    if (i == 0) {
      result.own = time;
    } else {
      add_best(result.opponents, time);
    }
  }
  return result;
}

}  // namespace hedgehog

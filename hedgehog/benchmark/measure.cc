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
constexpr double kFirstShare = 0.5;
// Of the memory that is free, which an estimate may ask for.
constexpr double kMemoryShare = 0.8;

double timed(const std::function<void()>& call) {
  if (interrupted()) throw Interrupted{};
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A form that is measured. Without `seconds` it was left out.
struct Runner {
  Form form;
  PreparedForm prepared;
  FormTime time;
  double spent = 0;  // in calls

  void run(double seconds) {
    const auto start = std::chrono::steady_clock::now();
    const double best = best_seconds(prepared.call, seconds);
    time.seconds = std::min(time.seconds.value_or(best), best);
    spent += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
};

/// Leaves it out, and lets go of what it holds.
void leave_out(Runner& runner) {
  runner.prepared = {};
  runner.time.seconds = runner.time.memory = std::nullopt;
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

/// Whether another form of its name was so much faster that no further calls will make up for it.
bool hopeless(const FormTime& time, const std::vector<Runner>& runners) {
  constexpr double kFar = 1.5;
  return std::any_of(runners.begin(), runners.end(), [&](const Runner& other) {
    return other.time.who == time.who && other.time.seconds && *time.seconds > kFar * *other.time.seconds;
  });
}

std::optional<double> memory_of(const PreparedForm& prepared, const AttentionProblem& problem) {
  const std::optional<double> growth = peak_growth(prepared.call);
  if (!growth) return std::nullopt;
  return std::max(0.0, *growth - output_bytes(problem)) + prepared.carried_bytes;
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

bool CallLimit::allows(const std::string& form, double flops, double product_rate) const {
  const auto known = rates_.find(form);
  return flops / (known != rates_.end() ? known->second : kFirstShare * product_rate) <= longest_seconds_;
}

void CallLimit::remember(const std::string& form, double flops, double seconds) {
  rates_[form] = flops / seconds;
}

MeasuredCase measure_attention(const AttentionProblem& problem, const MeasureConfig& config, double product_rate,
                               CallLimit& limit) {
  const std::vector<Form> forms = forms_of(problem);
  const AttentionInput input = random_input(problem);
  const auto name = [&](const Form& form) {
    return to_string(problem.work) + at::toString(problem.dtype) + form.who + form.detail;
  };
  std::vector<Runner> runners;
  for (const Form& form : forms) {
    Runner& runner = runners.emplace_back(Runner{form, {}, {form.who, form.detail, {}, {}}});
    if (!limit.allows(name(form), form.flops, product_rate) || form.bytes > kMemoryShare * available_memory()) continue;
    const bool done = fits([&] {
      runner.prepared = form.prepare(input);
      runner.run(0);
    });
    if (!done) leave_out(runner);
  }
  for (Runner& runner : runners) {
    if (!runner.time.seconds) continue;
    limit.remember(name(runner.form), runner.form.flops, *runner.time.seconds);
    if (hopeless(runner.time, runners)) {
      leave_out(runner);
    } else {
      runner.time.memory = memory_of(runner.prepared, problem);
    }
  }
  for (int round = 0; round < config.rounds; ++round) {
    for (Runner& runner : runners) {
      // A form whose calls are long has had enough of them sooner.
      const bool enough = round > 0 && runner.spent >= config.seconds * config.rounds;
      if (runner.time.seconds && !enough) runner.run(config.seconds);
    }
  }
  MeasuredCase result;
  result.what = to_string(problem.work);
  result.dtype = problem.dtype;
  result.length = problem.length;
  result.flops = linear_flops(problem);
  result.tokens = static_cast<double>(problem.batch * problem.rows());
  if (problem.work == Work::kDecode) result.bytes = decode_bytes(problem);
  result.own = runners.front().time;
  for (std::size_t i = 0; i < runners.size(); ++i) {
    const Runner& runner = runners[i];
    if (runner.time.seconds) limit.remember(name(runner.form), runner.form.flops, *runner.time.seconds);
    if (i > 0) add_best(result.opponents, runner.time);
  }
  return result;
}

}  // namespace hedgehog

// The kernels by themselves, without LibTorch: outputs against the definition in fp64, gradients against its finite
// differences, in every layout and with every head dimension and map width that models use.
#include "hedgehog/kernels/attention.h"

#include "tests/kernels/every_target.h"
#include "tests/kernels/plain_attention.h"

#include <gtest/gtest.h>

namespace hedgehog::kernels {
namespace {

using Layout = Array::Layout;

std::vector<float> floats(const Doubles& values) {
  return {values.begin(), values.end()};
}

// A kernel call on a problem's numbers: everything that its arguments point to.
class Call {
 public:
  Call(const PlainProblem& p, const PlainInput& input)
      : problem(p),
        q(array(p.shape.heads)),
        k(array(p.shape.kv_heads)),
        v(array(p.shape.kv_heads)),
        out(array(p.shape.heads)),
        row_max(static_cast<std::size_t>(rows(p.shape.heads))),
        inverse_sum(row_max.size()),
        weights{floats(input.q_weight), floats(input.q_bias), floats(input.k_weight), floats(input.k_bias)},
        log_scale(floats(input.log_scale)),
        log_gate(floats(input.log_gate)),
        segment_start(input.segment_start),
        key_count(input.key_count) {
    q.set(input.q);
    k.set(input.k);
    v.set(input.v);
    arguments.shape = p.shape;
    arguments.q = q.rows();
    arguments.k = k.rows();
    arguments.v = v.rows();
    arguments.map = {p.activation,      p.width, weights[0].data(), weights[1].data(), weights[2].data(),
                     weights[3].data(), nullptr};
    if (p.activation == Activation::kExp) take_reference();
    if (!log_scale.empty()) arguments.row_log_scale = log_scale.data();
    if (!log_gate.empty()) arguments.log_gate = log_gate.data();
    if (!segment_start.empty()) arguments.segment_start = segment_start.data();
    if (!key_count.empty()) arguments.key_count = key_count.data();
  }

  void forward() { attention_forward(arguments, out.mutable_rows(), row_max.data(), inverse_sum.data(), {}, 0, serially()); }

  struct Gradients {
    Doubles q, k, v, q_weight, q_bias, k_weight, k_bias;
  };
  Gradients backward(const Array& out_gradient) {
    const AttentionShape& s = problem.shape;
    const bool exact = s.window > 0 || s.sinks > 0;
    const Element of_keys = exact ? Element::kFloat32 : problem.element;
    Array dq = array(s.heads), dk(s.batch, s.kv_heads, s.length, s.dim, of_keys, problem.layout), dv = dk;
    std::vector<std::vector<float>> maps;
    for (const auto& weight : weights) maps.emplace_back(weight.size());
    AttentionGradients to;
    to.q = dq.mutable_rows();
    to.k = dk.mutable_rows();
    to.v = dv.mutable_rows();
    to.q_weight = maps[0].data();
    to.q_bias = maps[1].data();
    to.k_weight = maps[2].data();
    to.k_bias = maps[3].data();
    attention_backward(arguments, out.rows(), out_gradient.rows(), row_max.data(), inverse_sum.data(), to, serially());
    const auto wide = [](const std::vector<float>& x) { return Doubles(x.begin(), x.end()); };
    return {dq.get(), dk.get(), dv.get(), wide(maps[0]), wide(maps[1]), wide(maps[2]), wide(maps[3])};
  }

  Array array(std::int64_t heads) const {
    const AttentionShape& s = problem.shape;
    return {s.batch, heads, s.length, s.dim, problem.element, problem.layout};
  }

  PlainProblem problem;
  Array q, k, v, out;
  AttentionArguments arguments;
  std::vector<float> row_max, inverse_sum;

 private:
  std::int64_t rows(std::int64_t heads) const { return problem.shape.batch * heads * problem.shape.length; }

  // The exp map's running maximum (causal) or maximum: what a caller has to add.
  void take_reference() {
    const AttentionShape& s = problem.shape;
    const std::int64_t group = s.heads / s.kv_heads;
    reference.resize(static_cast<std::size_t>(rows(s.kv_heads)));
    key_log_scales(s, k.rows(), problem.width, weights[2].data(), weights[3].data(), reference.data(), serially());
    if (s.causal && log_gate.empty()) log_gate.assign(reference.size(), 0);
    for (std::int64_t head = 0; head < s.batch * s.kv_heads; ++head) {
      float* r = reference.data() + head * s.length;
      if (!s.causal) {
        std::fill_n(r, s.length, *std::max_element(r, r + s.length));
        continue;
      }
      for (std::int64_t i = 1; i < s.length; ++i) {
        r[i] = std::max(r[i - 1], r[i]);
        log_gate[static_cast<std::size_t>(head * s.length + i)] += r[i - 1] - r[i];
      }
      for (std::int64_t h = 0; !log_scale.empty() && h < group; ++h) {
        float* scale = log_scale.data() + (head / s.kv_heads * s.heads + head % s.kv_heads * group + h) * s.length;
        for (std::int64_t i = 0; i < s.length; ++i) scale[i] += r[i];
      }
    }
    arguments.map.k_reference = reference.data();
  }

  std::vector<std::vector<float>> weights;
  std::vector<float> log_scale, log_gate, reference;
  std::vector<std::int32_t> segment_start, key_count;
};

double largest(const Doubles& x) {
  double most = 0;
  for (const double value : x) most = std::max(most, std::abs(value));
  return most;
}

double dot(const Doubles& x, const Doubles& y) {
  double sum = 0;
  for (std::size_t n = 0; n < x.size(); ++n) sum += x[n] * y[n];
  return sum;
}

void expect_forward(const PlainProblem& problem, std::uint64_t seed) {
  SCOPED_TRACE(problem.describe());
  const PlainInput input = plain_input(problem, seed);
  Call call(problem, input);
  call.forward();
  const Doubles found = call.out.get(), expected = plain_attention(problem, input);
  double error = 0;
  for (std::size_t n = 0; n < found.size(); ++n) error = std::max(error, std::abs(found[n] - expected[n]));
  EXPECT_LE(error, (problem.element == Element::kFloat32 ? 1e-5 : 1e-2) * largest(expected));
}

// Along one random direction for each input: (L(x + ε d) − L(x − ε d)) / 2ε in fp64, with L = Σ y·dy.
void expect_gradients(const PlainProblem& problem, std::uint64_t seed) {
  SCOPED_TRACE(problem.describe());
  const PlainInput input = plain_input(problem, seed);
  Random random{seed, 1};
  const auto direction_like = [&random](const Doubles& x) {
    Doubles direction(x.size());
    for (double& value : direction) value = 2 * random.uniform() - 1;
    return direction;
  };
  Call call(problem, input);
  call.forward();
  Array out_gradient = call.array(problem.shape.heads);
  out_gradient.set(direction_like(input.q));
  const Doubles dy = out_gradient.get();
  const Call::Gradients found = call.backward(out_gradient);
  const auto check = [&](const char* name, Doubles PlainInput::*member, const Doubles& gradient) {
    const Doubles direction = direction_like(gradient);
    constexpr double kStep = 1e-5;
    double values[2];
    for (const int sign : {-1, 1}) {
      PlainInput moved = input;
      for (std::size_t n = 0; n < direction.size(); ++n) (moved.*member)[n] += sign * kStep * direction[n];
      values[(sign + 1) / 2] = dot(plain_attention(problem, moved), dy);
    }
    const double expected = (values[1] - values[0]) / (2 * kStep);
    const double bound = std::sqrt(dot(gradient, gradient) * dot(direction, direction));
    EXPECT_NEAR(dot(gradient, direction), expected, (problem.element == Element::kFloat32 ? 1e-5 : 1e-2) * bound + 1e-7)
        << name;
  };
  check("q", &PlainInput::q, found.q);
  check("k", &PlainInput::k, found.k);
  check("v", &PlainInput::v, found.v);
  check("q_weight", &PlainInput::q_weight, found.q_weight);
  check("q_bias", &PlainInput::q_bias, found.q_bias);
  check("k_weight", &PlainInput::k_weight, found.k_weight);
  check("k_bias", &PlainInput::k_bias, found.k_bias);
}

PlainProblem problem_of(std::int64_t heads, std::int64_t kv_heads, std::int64_t length, std::int64_t dim, std::int64_t width) {
  PlainProblem p;
  p.shape.batch = 1;
  p.shape.heads = heads;
  p.shape.kv_heads = kv_heads;
  p.shape.length = length;
  p.shape.dim = dim;
  p.shape.features = 2 * width;
  p.shape.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(dim)));
  p.width = width;
  return p;
}

// Every form of attention, on a problem's heads.
std::vector<PlainProblem> forms_of(const PlainProblem& base) {
  std::vector<PlainProblem> forms(6, base);
  forms[1].gate = true;
  forms[2].shape.window = 9;
  forms[2].shape.sinks = 2;
  forms[3].shape.window = 9;
  forms[3].gate = forms[3].packed = true;
  forms[4].shape.causal = false;
  forms[4].padded = true;
  forms[5].shape.causal = false;
  forms[5].packed = true;
  return forms;
}

TEST(AttentionKernels, TakeEveryHeadDimensionAndMapWidth) {
  std::uint64_t seed = 0;
  for (const std::int64_t dim : {32, 64, 80, 96, 128, 256}) {
    for (const std::int64_t width : {dim / 2, dim, 2 * dim}) {
      for (const Element element : {Element::kFloat32, Element::kBfloat16}) {
        PlainProblem p = problem_of(2, 1, 67, dim, width);
        p.element = element;
        p.layout = seed % 2 == 0 ? Layout::kRowsFirst : Layout::kHeadsFirst;
        expect_forward(p, seed);
        p.shape.window = 17;
        p.shape.sinks = 3;
        expect_forward(p, ++seed);
      }
    }
  }
}

TEST(AttentionKernels, GradientsAreFiniteDifferences) {
  std::uint64_t seed = 100;
  for (const Layout layout : {Layout::kHeadsFirst, Layout::kRowsFirst}) {
    for (const Element element : {Element::kFloat32, Element::kBfloat16}) {
      PlainProblem base = problem_of(4, 2, 70, 16, 12);
      base.shape.batch = 2;
      base.layout = layout;
      base.element = element;
      for (const PlainProblem& p : forms_of(base)) {
        expect_forward(p, ++seed);
        expect_gradients(p, ++seed);
      }
    }
  }
}

TEST(AttentionKernels, TakeEveryMap) {
  for (const Activation activation : {Activation::kSplitSoftmax, Activation::kJointSoftmax, Activation::kExp}) {
    for (const Element element : {Element::kFloat32, Element::kBfloat16}) {
      for (PlainProblem p : forms_of(problem_of(2, 1, 100, 20, 10))) {
        if (activation == Activation::kExp && p.packed) continue;  // its running maximum is the caller's
        p.activation = activation;
        p.element = element;
        expect_forward(p, 7);
        expect_gradients(p, 8);
      }
    }
  }
}

TEST(AttentionKernels, TakeRandomShapes) {
  Random random{2402, 4347};
  const auto upto = [&random](std::int64_t n) {
    return static_cast<std::int64_t>(random.uniform() * static_cast<double>(n + 1));
  };
  for (std::uint64_t n = 0; n < 60; ++n) {
    const std::int64_t kv_heads = 1 + upto(2);
    PlainProblem p = problem_of(kv_heads * (1 + upto(3)), kv_heads, 1 + upto(140), 1 + upto(40), 1 + upto(24));
    p.shape.batch = 1 + upto(1);
    p.shape.causal = upto(3) > 0;
    p.shape.window = p.shape.causal && upto(1) == 1 ? upto(90) : 0;
    p.shape.sinks = p.shape.causal && upto(2) == 0 ? upto(6) : 0;
    p.gate = p.shape.causal && upto(1) == 1;
    p.packed = upto(2) == 0;
    p.padded = !p.shape.causal && upto(1) == 1;
    p.activation = upto(1) == 0 ? Activation::kSplitSoftmax : Activation::kJointSoftmax;
    p.element = upto(1) == 0 ? Element::kFloat32 : Element::kBfloat16;
    p.layout = upto(1) == 0 ? Layout::kHeadsFirst : Layout::kRowsFirst;
    expect_forward(p, n);
    if (n % 4 == 0) expect_gradients(p, n);
  }
}

TEST(AttentionKernels, AreTheDefinitionOnEveryInstructionSet) {
  on_every_target([] {
    for (const Element element : {Element::kFloat32, Element::kBfloat16}) {
      PlainProblem base = problem_of(3, 1, 90, 33, 17);
      base.element = element;
      base.layout = Layout::kRowsFirst;
      for (const PlainProblem& p : forms_of(base)) {
        expect_forward(p, 3);
        expect_gradients(p, 4);
      }
    }
  });
}

// Scores of ±1e4 and more, equal rows, a single key, keys that are all masked, denormals: no NaN and no infinity.
TEST(AttentionKernels, StayFiniteOnExtremeInputs) {
  on_every_target([] {
    for (const Element element : {Element::kFloat32, Element::kBfloat16}) {
      for (const Activation activation : {Activation::kSplitSoftmax, Activation::kJointSoftmax, Activation::kExp}) {
        for (const std::int64_t length : {1, 70}) {
          for (PlainProblem p : forms_of(problem_of(2, 1, length, 16, 16))) {
            p.element = element;
            p.activation = activation;
            p.packed = false;
            for (const double size : {1e4, 60.0, 40.0, 30.0, 20.0, 1e-40, 0.0}) {
              SCOPED_TRACE(p.describe() + " size " + std::to_string(size));
              PlainInput input = plain_input(p, 5);
              for (Doubles* x : {&input.q, &input.k}) {
                for (double& value : *x) value *= size;
              }
              for (double& value : input.log_gate) value = -1e4;
              for (std::int32_t& count : input.key_count) count = 0;
              Call call(p, input);
              call.forward();
              Array out_gradient = call.array(p.shape.heads);
              out_gradient.set(Doubles(input.q.size(), 1.0));
              const Call::Gradients found = call.backward(out_gradient);
              const auto finite = [](const Doubles& values) {
                return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
              };
              EXPECT_TRUE(finite(call.out.get()));
              for (const Doubles* gradient :
                   {&found.q, &found.k, &found.v, &found.q_weight, &found.q_bias, &found.k_weight, &found.k_bias}) {
                EXPECT_TRUE(finite(*gradient));
              }
            }
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace hedgehog::kernels

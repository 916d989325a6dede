// Frequencies of every scaling, tables of angles, and the rotation with its own backward pass (the rotation by −angle).
// The arithmetic is fp32 in the reference library's order, so that angles agree to the last bit.
#include "hedgehog/models/rotary.h"

#include "hedgehog/base/error.h"
#include "hedgehog/kernels/cpu/elementwise.h"
#include "hedgehog/models/element.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hedgehog {
namespace {

constexpr double kTau = 2 * std::numbers::pi;

// Wavelengths beyond the trained context are stretched, short ones stay, those between are blended (Llama 3.1).
at::Tensor llama3_frequencies(const RotaryConfig& config, const at::Tensor& frequency) {
  const double trained = static_cast<double>(config.original_max_positions);
  const double longest = trained / config.low_freq_factor, shortest = trained / config.high_freq_factor;
  const at::Tensor wavelength = kTau / frequency;
  const at::Tensor stretched = at::where(wavelength > longest, frequency / config.factor, frequency);
  const at::Tensor share = (trained / wavelength - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor);
  const at::Tensor blended = (1 - share) * stretched / config.factor + share * stretched;
  const at::Tensor between = at::logical_and(wavelength >= shortest, wavelength <= longest);
  return at::where(between, blended, stretched);
}

// arXiv 2309.00071: dimensions that turn more than β_fast times within the trained context stay, those that turn less than
// β_slow times are interpolated, a ramp between.
at::Tensor yarn_frequencies(const RotaryConfig& config, std::int64_t dim, const at::Tensor& frequency) {
  const double trained = static_cast<double>(config.original_max_positions);
  const auto dimension_of = [&](double turns) {
    return static_cast<double>(dim) * std::log(trained / (turns * kTau)) / (2 * std::log(config.theta));
  };
  double low = dimension_of(config.beta_fast), high = dimension_of(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;
  const at::Tensor ramp = ((at::arange(dim / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
  return frequency / config.factor * ramp + frequency * (1 - ramp);
}

double attention_factor(const RotaryConfig& config) {
  if (config.scaling != "yarn" && config.scaling != "longrope") return 1;
  if (config.attention_factor != 0) return config.attention_factor;
  const auto scale = [&](double m) { return config.factor <= 1 ? 1.0 : 0.1 * m * std::log(config.factor) + 1.0; };
  if (config.mscale != 0 && config.mscale_all_dim != 0) return scale(config.mscale) / scale(config.mscale_all_dim);
  return scale(1);
}

at::Tensor frequencies(const RotaryConfig& config, std::int64_t dim) {
  const at::Tensor exponent = at::arange(0, dim, 2, at::kFloat) / static_cast<double>(dim);
  at::Tensor frequency = at::reciprocal(at::pow(at::Scalar(config.theta), exponent));
  if (config.scaling == "linear") {
    frequency = frequency / config.factor;
  } else if (config.scaling == "llama3") {
    frequency = llama3_frequencies(config, frequency);
  } else if (config.scaling == "yarn") {
    frequency = yarn_frequencies(config, dim, frequency);
  } else if (config.scaling == "longrope") {
    check(static_cast<std::int64_t>(config.frequency_divisors.size()) == dim / 2, "longrope should have {} factors, found {}",
          dim / 2, config.frequency_divisors.size());
    frequency = frequency / at::tensor(config.frequency_divisors, at::kDouble).to(at::kFloat);
  } else {
    check(config.scaling == "default", "rope scaling should be default, linear, llama3, yarn or longrope, found {}",
          config.scaling);
  }
  return frequency;
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, float direction) {
  const std::int64_t batch = x.size(0), heads = x.size(1), length = x.size(2), dim = x.size(3);
  // The result is laid out for its reader: attention reads [batch, heads, length, dim]; the gradient goes to a projection,
  // which reads [batch, length, heads, dim].
  at::Tensor y = direction > 0 ? at::empty({batch, heads, length, dim}, x.options())
                               : at::empty({batch, length, heads, dim}, x.options()).transpose(1, 2);
  const kernels::RotateRows args{element_of(x),
                                 x.const_data_ptr(),
                                 y.mutable_data_ptr(),
                                 cos.const_data_ptr<float>(),
                                 sin.const_data_ptr<float>(),
                                 heads,
                                 length,
                                 dim,
                                 x.stride(0),
                                 x.stride(1),
                                 x.stride(2),
                                 y.stride(0),
                                 y.stride(1),
                                 y.stride(2),
                                 cos.dim() == 3 && cos.size(0) > 1 ? length * dim : 0,
                                 direction};
  at::parallel_for(0, batch * heads * length, std::max<std::int64_t>(1, 16384 / dim),
                   [&](std::int64_t begin, std::int64_t end) { kernels::rotate_rows(args, begin, end); });
  return y;
}

at::Tensor unit_stride(const at::Tensor& x) {
  return x.stride(-1) == 1 ? x : x.contiguous();
}

struct Rotation : torch::autograd::Function<Rotation> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotate(unit_stride(x), cos, sin, 1);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    return {rotate(unit_stride(gradients[0]), saved[0], saved[1], -1), {}, {}};
  }
};

}  // namespace

RotaryTable rotary_table(const RotaryConfig& config, std::int64_t dim, const at::Tensor& positions) {
  check(dim >= 2 && dim % 2 == 0, "rotary head dimension should be even and positive, found {}", dim);
  const at::Tensor half = positions.to(at::kFloat).unsqueeze(-1) * frequencies(config, dim);
  const at::Tensor angles = at::cat({half, half}, -1);
  const double factor = attention_factor(config);
  if (factor == 1.0) return {angles.cos(), angles.sin()};
  return {angles.cos() * factor, angles.sin() * factor};
}

at::Tensor apply_rotary(const at::Tensor& x, const RotaryTable& table) {
  check(x.dim() == 4 && table.cos.size(-1) == x.size(3) && table.cos.size(-2) == x.size(2) &&
            (table.cos.dim() == 2 || table.cos.size(0) == 1 || table.cos.size(0) == x.size(0)),
        "a rotary table of {} rows and {} dimensions does not fit {} rows and {} dimensions", table.cos.size(-2),
        table.cos.size(-1), x.size(-2), x.size(-1));
  if (is_element(x)) {
    return Rotation::apply(x, table.cos.contiguous(), table.sin.contiguous());
  }
  const bool batched = table.cos.dim() == 3;
  const at::Tensor cos = (batched ? table.cos.unsqueeze(1) : table.cos).to(x.scalar_type());
  const at::Tensor sin = (batched ? table.sin.unsqueeze(1) : table.sin).to(x.scalar_type());
  const std::vector<at::Tensor> halves = x.chunk(2, -1);
  return x * cos + at::cat({-halves[1], halves[0]}, -1) * sin;
}

}  // namespace hedgehog

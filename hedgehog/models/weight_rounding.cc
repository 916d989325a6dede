#include "hedgehog/models/weight_rounding.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace hedgehog {
namespace {

constexpr std::int64_t kBlock = 32;  // weights that share a scale

struct Format {
  std::string_view name;
  std::int64_t block_bytes;
  at::Tensor (*round)(const at::Tensor& blocks);  // fp32 [rows, blocks, 32]
};

// 1 / scale, 0 for a block of zeros.
at::Tensor inverse_or_zero(const at::Tensor& scale) {
  return at::where(scale.eq(0), at::zeros_like(scale), 1 / scale);
}

at::Tensor in_half(const at::Tensor& scale) {
  return scale.to(at::kHalf).to(at::kFloat);
}

at::Tensor round_q8_0(const at::Tensor& blocks) {
  const at::Tensor scale = blocks.abs().amax(-1, /*keepdim=*/true) / 127;
  const at::Tensor steps = blocks * inverse_or_zero(scale);
  return steps.sign() * at::floor(steps.abs() + 0.5) * in_half(scale);  // halves away from 0, as C's roundf
}

at::Tensor round_q4_0(const at::Tensor& blocks) {
  const at::Tensor largest = blocks.gather(-1, blocks.abs().argmax(-1, /*keepdim=*/true));
  const at::Tensor scale = largest / -8;
  const at::Tensor steps = at::floor(blocks.to(at::kDouble) * inverse_or_zero(scale).to(at::kDouble) + 8.5).clamp(0, 15);
  return (steps - 8).to(at::kFloat) * in_half(scale);
}

constexpr std::array kFormats = {Format{"q8_0", 34, round_q8_0}, Format{"q4_0", 18, round_q4_0}};

const Format& format_named(const std::string& name) {
  const auto found = std::find_if(kFormats.begin(), kFormats.end(), [&](const Format& one) { return one.name == name; });
  check(found != kFormats.end(), "weights in \"{}\" are not known; there are: {}", name, fmt::join(weight_formats(), ", "));
  return *found;
}

}  // namespace

std::vector<std::string> weight_formats() {
  std::vector<std::string> names;
  for (const Format& format : kFormats) names.emplace_back(format.name);
  return names;
}

at::Tensor rounded_weights(const at::Tensor& matrix, const std::string& format) {
  const Format& wanted = format_named(format);
  check(matrix.dim() == 2 && matrix.size(1) % kBlock == 0,
        "{} has blocks of {} weights in a row, and the matrix has {} columns", format, kBlock, matrix.size(-1));
  const at::Tensor blocks = matrix.detach().to(at::kFloat).reshape({matrix.size(0), -1, kBlock});
  return wanted.round(blocks).reshape(matrix.sizes());
}

std::int64_t round_weights(Decoder& model, const std::string& format) {
  const at::NoGradGuard no_gradients;
  const std::int64_t block_bytes = format_named(format).block_bytes;
  std::int64_t bytes = 0;
  for (const auto& [name, tensor] : model.weights()) {
    if (tensor->dim() != 2 || tensor->size(1) % kBlock != 0) {
      bytes += tensor->numel() * 4;
      continue;
    }
    *tensor = rounded_weights(*tensor, format).to(tensor->scalar_type());
    bytes += tensor->numel() / kBlock * block_bytes;
  }
  for (DecoderLayer& layer : model.layers()) {
    for (const auto& [name, tensor] : layer.attention.parameters()) bytes += tensor->numel() * 4;
  }
  return bytes;
}

}  // namespace hedgehog

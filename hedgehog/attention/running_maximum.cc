#include "hedgehog/attention/running_maximum.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace hedgehog {

RunningMaximum running_maximum(const at::Tensor& log_scale, const at::Tensor& segment_start, const at::Tensor& initial) {
  const auto own = log_scale.detach().contiguous();
  const auto segments = segment_start.defined() ? segment_start.to(at::kInt).contiguous() : segment_start;
  const auto first = initial.defined() ? initial.contiguous() : initial;
  RunningMaximum result{at::empty_like(own), at::empty_like(own)};
  const std::int64_t batch = own.size(0), heads = own.size(1), length = own.size(2);
  const float* m = own.const_data_ptr<float>();
  float* r = result.maximum.mutable_data_ptr<float>();
  float* gate = result.log_gate.mutable_data_ptr<float>();
  for (std::int64_t row = 0; row < batch * heads; ++row, m += length, r += length, gate += length) {
    const std::int32_t* starts = segments.defined() ? segments.const_data_ptr<std::int32_t>() + row / heads * length : nullptr;
    for (std::int64_t i = 0; i < length; ++i) {
      const bool starts_here = starts != nullptr ? starts[i] == i : i == 0;
      if (starts_here) {
        const bool continued = i == 0 && first.defined();
        const float before = continued ? first.const_data_ptr<float>()[row] : m[i];
        r[i] = std::max(before, m[i]);
        gate[i] = before - r[i];
      } else {
        r[i] = std::max(r[i - 1], m[i]);
        gate[i] = r[i - 1] - r[i];
      }
    }
  }
  return result;
}

at::Tensor document_maximum(const at::Tensor& log_scale, const at::Tensor& segment_start, const at::Tensor& key_count) {
  auto seen = log_scale.detach();
  at::Tensor padding;  // [batch, 1, length]
  if (key_count.defined()) {
    padding = at::arange(log_scale.size(2), at::kInt).ge(key_count.unsqueeze(-1)).unsqueeze(1);
    seen = seen.masked_fill(padding, -std::numeric_limits<float>::infinity());
  }
  auto maximum = running_maximum(seen, segment_start, {}).maximum;
  const auto segments = segment_start.defined() ? segment_start.to(at::kInt).contiguous() : segment_start;
  const std::int64_t heads = maximum.size(1), length = maximum.size(2), rows = maximum.size(0) * heads;
  float* r = maximum.mutable_data_ptr<float>();
  for (std::int64_t row = 0; row < rows; ++row, r += length) {
    const std::int32_t* starts = segments.defined() ? segments.const_data_ptr<std::int32_t>() + row / heads * length : nullptr;
    for (std::int64_t i = length - 2; i >= 0; --i) {
      if (starts == nullptr || starts[i] == starts[i + 1]) r[i] = r[i + 1];
    }
  }
  return padding.defined() ? at::where(padding, log_scale.detach(), maximum) : maximum;
}

}  // namespace hedgehog

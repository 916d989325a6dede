#include "hedgehog/attention/scaled_dot_product.h"

#include "hedgehog/attention/attention_operator.h"

#include <ATen/ATen.h>

namespace hedgehog {
namespace {

// On the CPU LibTorch multiplies bf16 a head and a block at a time by oneDNN, whose calls cost more than such short products:
// with gradients 64 rows of bf16 take three times as long as of fp32, 384 a sixth longer (`hedgehog bench --what train`).
constexpr std::int64_t kShort = 512;

}  // namespace

at::Tensor scaled_dot_product(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const std::optional<at::Tensor>& seen, bool causal) {
  const auto attend = [&](const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
    const std::int64_t heads = queries.size(1);
    const bool shared = heads != keys.size(1);
    return at::scaled_dot_product_attention(queries, shared ? to_query_heads(keys, heads) : keys,
                                            shared ? to_query_heads(values, heads) : values, seen, 0.0, causal);
  };
  if (q.scalar_type() != at::kBFloat16 || !q.is_cpu() || k.size(2) >= kShort) return attend(q, k, v);
  return attend(q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat)).to(at::kBFloat16);
}

}  // namespace hedgehog

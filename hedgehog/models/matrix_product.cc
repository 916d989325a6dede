#include "hedgehog/models/matrix_product.h"

#include "hedgehog/attention/parallel.h"
#include "hedgehog/kernels/cpu/matrix_product.h"

#include <ATen/ATen.h>

namespace hedgehog {
namespace {

bool is_matrix(const at::Tensor& x) {
  return x.dim() == 2 && x.is_cpu() && x.scalar_type() == at::kFloat && (x.stride(0) == 1 || x.stride(1) == 1);
}

// Thin products, such as LoRA's, spend their time on reading: ATen's are as good.
constexpr std::int64_t kThin = 64;

}  // namespace

at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor out = at::empty({a.size(0), b.size(1)}, a.options());
  matrix_product_into(out, a, b, false);
  return out;
}

void matrix_product_into(at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool add) {
  const bool thin = a.size(0) < kThin || a.size(1) < kThin || b.size(1) < kThin;
  if (thin || !is_matrix(a) || !is_matrix(b) || !is_matrix(out) || out.stride(1) != 1) {
    if (add) {
      out.addmm_(a, b);
    } else {
      at::mm_out(out, a, b);
    }
    return;
  }
  kernels::MatrixProduct product;
  product.rows = a.size(0);
  product.columns = b.size(1);
  product.depth = a.size(1);
  product.a = a.const_data_ptr<float>();
  product.a_row = a.stride(0);
  product.a_column = a.stride(1);
  product.b = b.const_data_ptr<float>();
  product.b_row = b.stride(0);
  product.b_column = b.stride(1);
  product.c = out.mutable_data_ptr<float>();
  product.c_row = out.stride(0);
  product.add = add;
  kernels::matrix_product(product, at::get_num_threads(), torch_threads());
}

}  // namespace hedgehog

// Projections with frozen or trained weights and low-rank additions, one autograd function for all linears of one input.
#include "hedgehog/models/linear.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"
#include "hedgehog/models/small_linear.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

namespace hedgehog {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The parts of one linear in the flat list of inputs that autograd sees: {x, weight, [bias], [A, B], weight, ...}.
struct Slot {
  std::int64_t weight = 0, bias = 0, lora_a = 0, lora_b = 0;  // 0 is x, so 0 means absent
  std::int64_t rank = 0, offset = 0;                          // its columns of the joint x Aᵀ
};

struct Plan {
  std::vector<Slot> slots;
  std::int64_t total_rank = 0;
};

Plan make_plan(at::TensorList inputs, const std::vector<std::int64_t>& flags) {
  Plan plan;
  std::int64_t next = 1;
  for (const std::int64_t flag : flags) {
    Slot slot;
    slot.weight = next++;
    if ((flag & 1) != 0) slot.bias = next++;
    if ((flag & 2) != 0) {
      slot.lora_a = next++;
      slot.lora_b = next++;
      slot.rank = inputs[slot.lora_a].size(0);
      slot.offset = plan.total_rank;
      plan.total_rank += slot.rank;
    }
    plan.slots.push_back(slot);
  }
  return plan;
}

// All A below each other, so that x is read once: [total rank, in] in x's dtype.
at::Tensor joint_a(at::TensorList inputs, const Plan& plan, at::ScalarType dtype) {
  std::vector<at::Tensor> parts;
  for (const Slot& slot : plan.slots) {
    if (slot.rank > 0) parts.push_back(inputs[slot.lora_a].to(dtype));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

std::vector<std::int64_t> with_last(at::IntArrayRef sizes, std::int64_t last) {
  std::vector<std::int64_t> result = sizes.vec();
  result.back() = last;
  return result;
}

at::Tensor product(const at::Tensor& rows, const at::Tensor& weight, const at::Tensor& bias) {
  return bias.defined() ? at::addmm(bias, rows, weight.t()) : at::mm(rows, weight.t());
}

// The forward pass; `low` receives x Aᵀ of all low-rank additions.
variable_list project_forward(at::TensorList inputs, const Plan& plan, const std::vector<double>& scales, at::Tensor* low) {
  const at::Tensor& x = inputs[0];
  const at::Tensor rows = x.reshape({-1, x.size(-1)});
  at::Tensor t;
  if (plan.total_rank > 0) t = at::mm(rows, joint_a(inputs, plan, x.scalar_type()).t());
  variable_list outputs;
  for (std::size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots[i];
    const at::Tensor& weight = inputs[slot.weight];
    at::Tensor y = product(rows, weight, slot.bias > 0 ? inputs[slot.bias] : at::Tensor());
    if (slot.rank > 0) {
      y.addmm_(t.narrow(1, slot.offset, slot.rank), inputs[slot.lora_b].to(x.scalar_type()).t(), 1, scales[i]);
    }
    outputs.push_back(y.view(with_last(x.sizes(), weight.size(0))));
  }
  *low = t;
  return outputs;
}

struct Projection : torch::autograd::Function<Projection> {
  static variable_list forward(AutogradContext* context, at::TensorList inputs, const std::vector<std::int64_t>& flags,
                               const std::vector<double>& scales) {
    const Plan plan = make_plan(inputs, flags);
    at::Tensor low;
    variable_list outputs = project_forward(inputs, plan, scales, &low);
    variable_list saved = inputs.vec();
    // x is of no use to the backward pass of frozen weights: its memory goes back as soon as the caller lets go.
    bool needs_x = false;
    for (const Slot& slot : plan.slots) needs_x |= slot.rank > 0 || inputs[slot.weight].requires_grad();
    context->saved_data["sizes"] = inputs[0].sizes().vec();
    context->saved_data["dtype"] = static_cast<std::int64_t>(inputs[0].scalar_type());
    if (!needs_x) saved[0] = at::Tensor();
    saved.push_back(low);
    context->save_for_backward(saved);
    context->saved_data["flags"] = flags;
    context->saved_data["scales"] = scales;
    context->set_materialize_grads(false);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list inputs = context->get_saved_variables();
    const at::Tensor low = inputs.back();
    inputs.pop_back();
    const std::vector<std::int64_t> sizes = context->saved_data["sizes"].toIntVector();
    const auto dtype = static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
    const std::vector<double> scales = context->saved_data["scales"].toDoubleVector();
    const Plan plan = make_plan(inputs, context->saved_data["flags"].toIntVector());

    const std::int64_t in = sizes.back();
    const at::Tensor x = inputs[0].defined() ? inputs[0].reshape({-1, in}) : at::Tensor();
    const bool needs_dx = context->needs_input_grad(0);
    variable_list result(inputs.size() + 2);
    at::Tensor dx, dlow;  // dlow: gradient of x Aᵀ
    if (plan.total_rank > 0) dlow = at::zeros({low.size(0), plan.total_rank}, low.options());
    for (std::size_t i = 0; i < plan.slots.size(); ++i) {
      if (!gradients[i].defined()) continue;
      const Slot& slot = plan.slots[i];
      const at::Tensor& weight = inputs[slot.weight];
      const at::Tensor dy = gradients[i].reshape({-1, weight.size(0)});
      if (needs_dx) {
        if (dx.defined()) {
          dx.addmm_(dy, weight);
        } else {
          dx = at::mm(dy, weight);
        }
      }
      if (context->needs_input_grad(slot.weight)) result[slot.weight] = at::mm(dy.t(), x);
      if (slot.bias > 0 && context->needs_input_grad(slot.bias)) result[slot.bias] = dy.sum(0);
      if (slot.rank == 0) continue;
      dlow.narrow(1, slot.offset, slot.rank).addmm_(dy, inputs[slot.lora_b].to(dtype), 0, scales[i]);
      if (context->needs_input_grad(slot.lora_b)) {
        const at::Tensor db = at::mm(dy.t(), low.narrow(1, slot.offset, slot.rank));
        result[slot.lora_b] = db.mul_(scales[i]).to(inputs[slot.lora_b].scalar_type());
      }
    }
    if (plan.total_rank > 0) {
      if (dx.defined()) dx.addmm_(dlow, joint_a(inputs, plan, dtype));
      bool needs_da = false;
      for (const Slot& slot : plan.slots) needs_da |= slot.rank > 0 && context->needs_input_grad(slot.lora_a);
      const at::Tensor da = needs_da ? at::mm(dlow.t(), x) : at::Tensor();
      for (const Slot& slot : plan.slots) {
        if (slot.rank > 0 && context->needs_input_grad(slot.lora_a)) {
          result[slot.lora_a] = da.narrow(0, slot.offset, slot.rank).to(inputs[slot.lora_a].scalar_type());
        }
      }
    }
    if (dx.defined()) result[0] = dx.view(sizes);
    return result;
  }
};

// Decoding: a few rows and no gradients.
std::vector<at::Tensor> project_few_rows(const at::Tensor& x, std::initializer_list<const Linear*> linears) {
  std::vector<at::Tensor> outputs;
  for (const Linear* linear : linears) {
    at::Tensor y = small_batch_linear(x, linear->weight, linear->bias);
    if (linear->lora_a.defined()) {
      const at::Tensor low = small_batch_linear(x, linear->lora_a);
      y.add_(small_batch_linear(low, linear->lora_b), linear->lora_scale);
    }
    outputs.push_back(y);
  }
  return outputs;
}

}  // namespace

std::vector<at::Tensor> project(const at::Tensor& x, std::initializer_list<const Linear*> linears) {
  if (takes_small_batch(x, (*linears.begin())->weight, (*linears.begin())->bias)) return project_few_rows(x, linears);
  const at::ScalarType dtype = x.scalar_type();
  variable_list inputs{x};
  std::vector<std::int64_t> flags;
  std::vector<double> scales;
  for (const Linear* linear : linears) {
    inputs.push_back(linear->weight.to(dtype));
    if (linear->bias.defined()) inputs.push_back(linear->bias.to(dtype));
    if (linear->lora_a.defined()) {
      inputs.push_back(linear->lora_a);
      inputs.push_back(linear->lora_b);
    }
    flags.push_back((linear->bias.defined() ? 1 : 0) | (linear->lora_a.defined() ? 2 : 0));
    scales.push_back(linear->lora_scale);
  }
  const at::TensorList list(inputs);
  if (at::GradMode::is_enabled()) return Projection::apply(list, flags, scales);
  at::Tensor low;
  return project_forward(list, make_plan(list, flags), scales, &low);
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  return project(x, {this})[0];
}

void Linear::add_lora(std::int64_t rank, double alpha, std::uint64_t seed) {
  const std::int64_t out = weight.size(0), in = weight.size(1);
  check(rank >= 1 && rank <= std::min(in, out), "LoRA rank should be between 1 and {} for a {}×{} matrix, found {}",
        std::min(in, out), out, in, rank);
  check(std::isfinite(alpha), "LoRA alpha should be finite");
  const at::NoGradGuard no_gradients;
  lora_a = at::empty({rank, in}, at::kFloat);
  Random random{seed, 0};
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  float* values = lora_a.data_ptr<float>();
  for (std::int64_t i = 0; i < rank * in; ++i) values[i] = static_cast<float>((2 * random.uniform() - 1) * bound);
  lora_b = at::zeros({out, rank}, at::kFloat);
  lora_scale = alpha / static_cast<double>(rank);
  lora_a.requires_grad_(true);
  lora_b.requires_grad_(true);
}

void Linear::merge_lora() {
  if (!lora_a.defined()) return;
  const at::NoGradGuard no_gradients;
  const bool trained = weight.requires_grad();
  weight = at::addmm(weight.to(at::kFloat), lora_b, lora_a, 1, lora_scale).to(weight.scalar_type());
  weight.requires_grad_(trained);
  drop_lora();
}

void Linear::drop_lora() {
  lora_a = lora_b = at::Tensor();
  lora_scale = 0;
}

}  // namespace hedgehog

// For a block of rows: logits = hidden Wᵀ, then row by row loss and d_logits in place, then d_hidden = d_logits W (and
// dW += d_logitsᵀ hidden). The backward pass only multiplies by the gradient that comes in.
#include "hedgehog/training/loss.h"

#include "hedgehog/base/error.h"
#include "hedgehog/kernels/cpu/cross_entropy_row.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

namespace hedgehog {
namespace {

constexpr std::int64_t kBlock = 256;  // rows of logits alive at a time

struct Gradients {
  at::Tensor hidden, weight;  // undefined where none is wanted
};

/// Sums over rows go into `result`; the gradients are those of the mean over `result.tokens`.
Gradients block_by_block(LanguageModelLoss& result, const at::Tensor& hidden, const at::Tensor& weight,
                         const at::Tensor& targets, const at::Tensor& teacher_hidden, const at::Tensor& teacher_weight,
                         double teacher_factor, bool want_hidden, bool want_weight) {
  const std::int64_t vocabulary = weight.size(0);
  const auto* target = targets.const_data_ptr<std::int64_t>();
  // Of a task whose answers alone count most rows have no target, and need no logits.
  const at::Tensor scored = targets.ne(-100).nonzero().flatten();
  const std::int64_t rows = scored.size(0);
  const auto* row_of = scored.const_data_ptr<std::int64_t>();
  const bool with_teacher = teacher_factor != 0;
  Gradients gradients;
  if (want_hidden) gradients.hidden = at::zeros_like(hidden);
  if (want_weight) gradients.weight = at::zeros(weight.sizes(), at::kFloat);
  const float scale = static_cast<float>(1.0 / static_cast<double>(std::max<std::int64_t>(result.tokens, 1)));
  double cross_entropy = 0, kl = 0;
  std::vector<kernels::RowLoss> losses(kBlock);
  for (std::int64_t first = 0; first < rows; first += kBlock) {
    const std::int64_t count = std::min(kBlock, rows - first);
    const at::Tensor chosen = scored.narrow(0, first, count);
    const at::Tensor block = hidden.index_select(0, chosen);
    // The products run in the hidden states' dtype; softmax always in fp32.
    at::Tensor logits = at::mm(block, weight.t()).to(at::kFloat).contiguous();
    at::Tensor teacher;
    if (with_teacher) {
      teacher = at::mm(teacher_hidden.index_select(0, chosen), teacher_weight.t()).to(at::kFloat).contiguous();
    }
    float* logits_data = logits.mutable_data_ptr<float>();
    const float* teacher_data = with_teacher ? teacher.const_data_ptr<float>() : nullptr;
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        float* row = logits_data + i * vocabulary;
        losses[static_cast<std::size_t>(i)] = kernels::cross_entropy_row(
            row, with_teacher ? teacher_data + i * vocabulary : nullptr, static_cast<std::size_t>(vocabulary),
            static_cast<std::size_t>(target[row_of[first + i]]), static_cast<float>(teacher_factor), scale);
      }
    });
    for (std::int64_t i = 0; i < count; ++i) {  // in row order, whatever the threads did
      cross_entropy += losses[static_cast<std::size_t>(i)].cross_entropy;
      kl += losses[static_cast<std::size_t>(i)].kl;
    }
    if (!want_hidden && !want_weight) continue;
    const at::Tensor d_logits = logits.to(hidden.scalar_type());
    if (want_hidden) gradients.hidden.index_copy_(0, chosen, at::mm(d_logits, weight));
    if (want_weight) {
      if (hidden.scalar_type() == at::kFloat) {
        gradients.weight.addmm_(d_logits.t(), block);
      } else {
        gradients.weight.add_(at::mm(d_logits.t(), block));
      }
    }
  }
  const double tokens = static_cast<double>(std::max<std::int64_t>(result.tokens, 1));
  result.cross_entropy = cross_entropy / tokens;
  result.kl = kl / tokens;
  return gradients;
}

class LossFunction : public torch::autograd::Function<LossFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight,
                            double total, const Gradients& gradients) {
    if (gradients.hidden.defined()) context->saved_data["hidden"] = gradients.hidden;
    if (gradients.weight.defined()) context->saved_data["weight"] = gradients.weight;
    return at::scalar_tensor(total, at::kFloat);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list incoming) {
    const double factor = incoming[0].item<double>();
    const auto scaled = [&](const char* name) {
      const auto saved = context->saved_data.find(name);
      if (saved == context->saved_data.end()) return at::Tensor();
      const at::Tensor gradient = saved->second.toTensor();
      return factor == 1 ? gradient : gradient * factor;
    };
    return {scaled("hidden"), scaled("weight"), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

LanguageModelLoss language_model_loss(const at::Tensor& hidden, const at::Tensor& output_weight, const at::Tensor& targets,
                                      const at::Tensor& teacher_hidden, const at::Tensor& teacher_output_weight,
                                      double teacher_factor) {
  check(hidden.dim() == 2 && output_weight.dim() == 2 && hidden.size(1) == output_weight.size(1) && targets.dim() == 1 &&
            targets.size(0) == hidden.size(0) && targets.scalar_type() == at::kLong,
        "language-model loss: expected hidden [rows, size], output weight [vocabulary, size] and int64 targets [rows]");
  check(teacher_factor >= 0 && teacher_factor <= 1, "teacher's factor: expected a number from 0 to 1, found {}",
        teacher_factor);
  if (teacher_factor != 0) {
    check(teacher_hidden.defined() && teacher_hidden.dim() == 2 && teacher_hidden.size(0) == hidden.size(0) &&
              teacher_output_weight.size(0) == output_weight.size(0),
          "language-model loss: the teacher's rows or vocabulary differ from the student's");
  }
  const at::Tensor own_targets = targets.contiguous();
  const auto* target = own_targets.const_data_ptr<std::int64_t>();
  LanguageModelLoss result;
  for (std::int64_t i = 0; i < own_targets.size(0); ++i) {
    check(target[i] == -100 || (target[i] >= 0 && target[i] < output_weight.size(0)),
          "language-model loss: target {} in row {} is outside the vocabulary of {}", target[i], i, output_weight.size(0));
    result.tokens += target[i] != -100;
  }
  const bool differentiate = at::GradMode::is_enabled();
  const bool want_weight = differentiate && output_weight.requires_grad();
  Gradients gradients;
  {
    const at::NoGradGuard no_gradient;
    const at::Tensor weight = output_weight.detach().to(hidden.scalar_type());
    const at::Tensor teacher_weight =
        teacher_factor != 0 ? teacher_output_weight.to(teacher_hidden.scalar_type()) : at::Tensor();
    gradients = block_by_block(result, hidden.detach(), weight, own_targets, teacher_hidden, teacher_weight, teacher_factor,
                               differentiate && hidden.requires_grad(), want_weight);
    // Autograd wants a gradient in its variable's dtype.
    if (want_weight) gradients.weight = gradients.weight.to(output_weight.scalar_type());
  }
  const double total = (1 - teacher_factor) * result.cross_entropy + teacher_factor * result.kl;
  result.total = LossFunction::apply(hidden, output_weight, total, gradients);
  return result;
}

}  // namespace hedgehog

#include "hedgehog/models/weight_visitor.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

namespace hedgehog {

std::optional<std::string> stored_name(const TensorSource& source, const WeightNaming& naming, const std::string& name) {
  std::string other = name;
  for (const auto& [ours, theirs] : naming.spellings) {
    if (const auto at = other.find(ours); at != std::string::npos) other.replace(at, ours.size(), theirs);
  }
  for (const std::string& spelled : {name, other}) {
    if (source.contains(spelled)) return spelled;
    if (!spelled.starts_with(naming.prefix)) continue;
    if (std::string bare = spelled.substr(naming.prefix.size()); source.contains(bare)) return bare;
  }
  return std::nullopt;
}

WeightVisitor weight_loader(const TensorSource& source, WeightNaming naming, at::ScalarType dtype) {
  check(dtype == at::kFloat || dtype == at::kBFloat16, "a model's weights should be fp32 or bf16");
  return [&source, naming = std::move(naming), dtype](const std::string& name, at::Tensor& tensor,
                                                      const std::vector<std::int64_t>& shape) {
    const at::NoGradGuard no_gradients;
    tensor = source.load_float(stored_name(source, naming, name).value_or(name), shape).to(dtype);
  };
}

WeightVisitor weight_maker(std::uint64_t seed, double deviation, at::ScalarType dtype) {
  check(dtype == at::kFloat || dtype == at::kBFloat16, "a model's weights should be fp32 or bf16");
  return [generator = at::detail::createCPUGenerator(seed), deviation, dtype](const std::string& name, at::Tensor& tensor,
                                                                              const std::vector<std::int64_t>& shape) {
    const at::NoGradGuard no_gradients;
    if (shape.size() == 1) {
      tensor = at::full(shape, name.ends_with("bias") ? 0 : 1, dtype);
    } else {
      tensor = at::empty(shape, at::kFloat).normal_(0, deviation, generator).to(dtype);
    }
  };
}

WeightVisitor weight_collector(std::vector<std::pair<std::string, at::Tensor*>>& result) {
  return [&result](const std::string& name, at::Tensor& tensor, const std::vector<std::int64_t>&) {
    result.emplace_back(name, &tensor);
  };
}

}  // namespace hedgehog

#include "hedgehog/analysis/context_memory.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>
#include <vector>

namespace hedgehog {
namespace {

/// A whole number with one of the units behind it.
std::int64_t number_with_unit(std::string_view text, const std::vector<std::pair<std::string_view, std::int64_t>>& units,
                              const std::string& whole) {
  std::int64_t number = 0;
  const auto [rest, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  const auto found = std::find_if(units.begin(), units.end(), [&](const auto& each) { return each.first == unit; });
  check(problem == std::errc() && number > 0 && found != units.end() && number <= (std::int64_t{1} << 50) / found->second,
        "memory: expected bytes at a number of tokens such as 64MiB@32k, found '{}'", whole);
  return number * found->second;
}

}  // namespace

MemoryBudget memory_budget(const std::string& text) {
  const std::size_t at = std::min(text.find('@'), text.size());
  const std::string_view bytes = std::string_view(text).substr(0, at),
                         tokens = std::string_view(text).substr(std::min(at + 1, text.size()));
  const std::vector<std::pair<std::string_view, std::int64_t>> units = {
      {"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1'000}, {"MB", 1'000'000}, {"GB", 1'000'000'000}};
  return {number_with_unit(bytes, units, text), number_with_unit(tokens, {{"", 1}, {"k", 1 << 10}}, text)};
}

std::int64_t context_bytes(const Attention& attention, const DecoderConfig& model, std::int64_t tokens, at::ScalarType dtype) {
  const AttentionConfig& config = attention.config();
  if (config.kind == AttentionKind::kSoftmax) {
    const std::int64_t rows = config.window > 0 ? std::min(config.window, tokens) : tokens;
    return 2 * model.kv_heads * model.head_dim * rows * static_cast<std::int64_t>(at::elementSize(dtype));
  }
  if (attention.softmax_heads().defined()) {
    AttentionConfig without = config;
    without.softmax_heads.clear();
    const std::int64_t kept = std::ssize(config.softmax_heads);
    return context_bytes(attention.with_config(without), model, tokens, dtype) / model.kv_heads * (model.kv_heads - kept) +
           context_bytes(attention.with_config({}), model, tokens, dtype) / model.kv_heads * kept;
  }
  // All else is of fixed size, once its window is full.
  const std::int64_t rows = std::min(tokens, config.window + config.sinks + 1);
  const auto zeros = [&](std::int64_t heads) { return at::zeros({1, heads, rows, model.head_dim}, dtype); };
  AttentionState state;
  attention.continue_from(
      state, {zeros(model.heads), zeros(model.kv_heads), zeros(model.kv_heads), at::zeros({1, rows, model.hidden}, dtype), {}});
  return state.bytes();
}

std::int64_t context_bytes(const Decoder& model, std::int64_t tokens) {
  std::int64_t bytes = 0;
  for (const DecoderLayer& layer : model.layers())
    bytes += context_bytes(layer.attention, model.config(), tokens, model.dtype());
  return bytes;
}

}  // namespace hedgehog

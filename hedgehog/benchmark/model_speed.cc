#include "hedgehog/benchmark/model_speed.h"

#include "hedgehog/base/interrupt.h"
#include "hedgehog/base/random.h"
#include "hedgehog/benchmark/peak_memory.h"
#include "hedgehog/inference/engine.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace hedgehog {
namespace {

constexpr std::int64_t kDecoded = 17;  // tokens after a prompt; the first comes out of the prompt itself

GenerationRequest random_request(const Decoder& model, std::int64_t length) {
  GenerationRequest request;
  Random random{1, 0};
  for (std::int64_t i = 0; i < length; ++i) {
    request.prompt.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(model.config().vocabulary))));
  }
  request.max_tokens = kDecoded;
  request.sampler.temperature = 0;
  request.ignore_end = true;
  return request;
}

/// Multiplications and additions of a prompt: the weights, and each pair of a row and a key where attention is softmax.
double prompt_flops(const Decoder& model, std::int64_t length) {
  const DecoderConfig& config = model.config();
  const auto rows = static_cast<double>(length), heads = static_cast<double>(config.heads * config.head_dim);
  const double keys = static_cast<double>(config.kv_heads * config.head_dim), hidden = static_cast<double>(config.hidden);
  double flops = 0;
  for (const DecoderLayer& layer : model.layers()) {
    flops += 2 * rows * hidden * (2 * heads + 2 * keys + 3 * static_cast<double>(config.intermediate));
    if (layer.attention.config().kind == AttentionKind::kSoftmax) flops += 2 * rows * rows * heads;
  }
  return flops;
}

struct ModelTimes {
  FormTime prefill, generate;
};

ModelTimes time_model(const Decoder& model, const std::string& who, const Tokenizer& tokenizer, std::int64_t length,
                      int rounds) {
  const GenerationRequest request = random_request(model, length);
  ModelTimes times{{who, "", {}, {}}, {who, "", {}, {}}};
  const auto keep = [](std::optional<double>& best, double seconds) { best = std::min(best.value_or(seconds), seconds); };
  for (int round = 0; round < rounds; ++round) {
    GenerationResult result;
    const auto growth = peak_growth([&] { result = generate(model, tokenizer, request); });
    if (result.stop_reason == "interrupt") throw Interrupted{};
    keep(times.prefill.seconds, result.prompt_seconds);
    keep(times.generate.seconds, result.seconds / static_cast<double>(result.steps));
    if (growth) times.prefill.memory = std::min(times.prefill.memory.value_or(*growth), *growth);
    times.generate.memory = static_cast<double>(result.state_bytes);
  }
  return times;
}

}  // namespace

Decoder linear_form(const Decoder& model) {
  Decoder linear = model;
  const bool converted = std::any_of(model.layers().begin(), model.layers().end(), [](const DecoderLayer& layer) {
    return layer.attention.config().kind != AttentionKind::kSoftmax;
  });
  if (!converted) {
    AttentionConfig config;
    config.kind = AttentionKind::kLinear;
    linear.set_attention(config);
  }
  return linear;
}

std::vector<MeasuredCase> measure_model(const Decoder& linear, const Decoder& softmax, const Tokenizer& tokenizer,
                                        std::int64_t length, const MeasureConfig& config, double product_rate,
                                        CallLimit& limit) {
  const auto run = [&](const Decoder& model, const std::string& who) {
    const std::string form = std::string("model ") + at::toString(model.dtype()) + who;
    const double flops = prompt_flops(model, length);
    ModelTimes times{{who, "", {}, {}}, {who, "", {}, {}}};
    if (!limit.allows(form, flops, product_rate)) return times;
    if (fits([&] { times = time_model(model, who, tokenizer, length, config.rounds); })) {
      limit.remember(form, flops, *times.prefill.seconds);
    }
    return times;
  };
  const ModelTimes own = run(linear, "hedgehog"), other = run(softmax, "softmax");
  MeasuredCase prefill, generate;
  prefill.what = "prefill";
  generate.what = "generate";
  prefill.dtype = generate.dtype = linear.dtype();
  prefill.length = generate.length = length;
  prefill.own = own.prefill;
  prefill.opponents = {other.prefill};
  prefill.tokens = static_cast<double>(length);
  generate.own = own.generate;
  generate.opponents = {other.generate};
  generate.tokens = 1;
  return {prefill, generate};
}

}  // namespace hedgehog

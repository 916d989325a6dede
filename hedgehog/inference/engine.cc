#include "hedgehog/inference/engine.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/freed_memory.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/inference/text_stream.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>

namespace hedgehog {
namespace {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::vector<std::int32_t> first_tokens(const Decoder& model, const Tokenizer& tokenizer, const GenerationRequest& request) {
  std::vector<std::int32_t> tokens = request.prompt;
  if (tokens.empty()) {
    const std::optional<std::int32_t> begin = tokenizer.begin_token();
    check(begin || !tokenizer.end_tokens().empty(),
          "the prompt is empty, and the tokenizer names no token to begin with: give a prompt");
    tokens.push_back(begin ? *begin : tokenizer.end_tokens().front());
  }
  const std::int64_t vocabulary = model.config().vocabulary;
  for (const std::int32_t token : tokens) {
    check(token >= 0 && token < vocabulary, "the prompt holds token {}, the model's vocabulary has {}", token, vocabulary);
  }
  return tokens;
}

// One call of the model over tokens that continue `states`; the final hidden state of the last one, [1, 1, hidden].
at::Tensor advance(const Decoder& model, std::vector<AttentionState>& states, std::span<const std::int32_t> tokens) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  const at::Tensor ids = at::empty({1, count}, at::kLong);
  std::copy(tokens.begin(), tokens.end(), ids.mutable_data_ptr<std::int64_t>());
  return model.continue_from(states, ids).narrow(1, count - 1, 1);
}

at::Tensor next_logits(const Decoder& model, const at::Tensor& hidden) {
  return model.logits(hidden).to(at::kFloat).reshape({-1}).contiguous();
}

std::span<float> values(const at::Tensor& logits) {
  return {logits.mutable_data_ptr<float>(), static_cast<std::size_t>(logits.numel())};
}

std::int64_t state_bytes(const std::vector<AttentionState>& states) {
  std::int64_t bytes = 0;
  for (const AttentionState& state : states) {
    bytes += state.bytes();
  }
  return bytes;
}

// Reads the prompt; false if an interrupt came before its end.
bool read(const Decoder& model, std::vector<AttentionState>& states, std::span<const std::int32_t> tokens,
          std::int64_t chunk_tokens, at::Tensor& hidden) {
  while (!tokens.empty()) {
    if (interrupted()) {
      return false;
    }
    const std::size_t count = std::min(tokens.size(), static_cast<std::size_t>(chunk_tokens));
    hidden = advance(model, states, tokens.first(count));
    tokens = tokens.subspan(count);
  }
  return true;
}

}  // namespace

GenerationResult generate(const Decoder& model, const Tokenizer& tokenizer, const GenerationRequest& request,
                          const std::function<void(std::string_view)>& on_text) {
  const at::NoGradGuard no_gradients;
  check(request.max_tokens >= 0, "max-tokens: expected a count, found {}", request.max_tokens);
  check(request.chunk_tokens > 0, "chunk tokens: expected a count above 0, found {}", request.chunk_tokens);
  std::vector<std::int32_t> tokens = first_tokens(model, tokenizer, request);
  const std::vector<std::int32_t>& end_tokens = tokenizer.end_tokens();
  Sampler sampler(request.sampler);
  TextStream stream(request.stop);
  GenerationResult result;
  result.prompt_tokens = std::ssize(tokens);
  const auto emit = [&](const std::string& text) {
    result.text += text;
    if (on_text && !text.empty()) {
      on_text(text);
    }
  };

  Stopwatch prompt_time;
  std::vector<AttentionState> states(static_cast<std::size_t>(model.config().layers));
  for (AttentionState& state : states) {
    state.dtype = request.state_dtype;
  }
  at::Tensor hidden;
  if (!read(model, states, tokens, request.chunk_tokens, hidden)) {
    result.stop_reason = "interrupt";
  } else if (request.max_tokens == 0) {
    result.stop_reason = "length";
  }
  release_freed_memory();  // the steps need a small part of what the prompt did
  std::optional<Stopwatch> token_time;
  while (result.stop_reason.empty()) {
    if (token_time) {
      hidden = advance(model, states, std::span(tokens).last(1));
    }
    const at::Tensor logits = next_logits(model, hidden);
    const std::int32_t token = sampler.sample(values(logits), tokens);
    if (token_time) {
      ++result.steps;
    } else {
      result.prompt_seconds = prompt_time.seconds();
      token_time.emplace();
    }
    if (!request.ignore_end && std::find(end_tokens.begin(), end_tokens.end(), token) != end_tokens.end()) {
      result.stop_reason = "end";
      break;
    }
    emit(stream.push(tokenizer.decode_next(tokens.back(), token, /*skip_special=*/true)));
    tokens.push_back(token);
    ++result.tokens;
    if (stream.stopped()) {
      result.stop_reason = "stop";
    } else if (interrupted()) {
      result.stop_reason = "interrupt";
    } else if (result.tokens == request.max_tokens) {
      result.stop_reason = "length";
    }
  }
  if (token_time) {
    result.seconds = token_time->seconds();
  } else {
    result.prompt_seconds = prompt_time.seconds();
  }
  emit(stream.finish());
  result.state_bytes = state_bytes(states);
  return result;
}

}  // namespace hedgehog

// A whole model: generate()'s prompt and then its steps, with untrained maps, whose time is that of trained ones. Names:
// prefill/FORM/DTYPE/n:N; the time is that of the prompt with the first token's choice, the counter decode_milliseconds that of
// one step, the label the text. $HEDGEHOG_MODEL names the model, $HEDGEHOG_CHUNK_TOKENS the rows of one call.
#include "hedgehog/inference/engine.h"
#include "hedgehog/models/adapter.h"

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

namespace {

constexpr std::int64_t kSteps = 32, kLengths[] = {512, 2048, 8192, 32768};

struct Form {
  const char* name;
  hedgehog::AttentionKind kind;
  std::int64_t window, sinks;
};

constexpr Form kForms[] = {{"softmax", hedgehog::AttentionKind::kSoftmax, 0, 0},
                           {"linear", hedgehog::AttentionKind::kLinear, 0, 0},
                           {"hybrid32", hedgehog::AttentionKind::kHybrid, 32, 4},
                           {"hybrid64", hedgehog::AttentionKind::kHybrid, 64, 4}};

const char* variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

// The same 61 tokens again and again, which the opponents' scripts make too: a softmax model is sure how they go on.
hedgehog::GenerationRequest request(std::int64_t length, std::int64_t steps) {
  hedgehog::GenerationRequest result;
  for (std::int64_t i = 0; i < length; ++i) result.prompt.push_back(static_cast<std::int32_t>(1000 + 331 * (i % 61)));
  result.max_tokens = 1 + steps;
  result.sampler.temperature = 0;
  result.ignore_end = true;
  if (const char* chunk = std::getenv("HEDGEHOG_CHUNK_TOKENS")) result.chunk_tokens = std::atoll(chunk);
  return result;
}

struct Model {
  hedgehog::LoadedModel loaded;
  std::unique_ptr<hedgehog::Tokenizer> tokenizer;

  explicit Model(at::ScalarType dtype)
      : loaded(hedgehog::load_model(
            variable("HEDGEHOG_MODEL", HEDGEHOG_SOURCE_DIR "/.deps/models/SmolLM2-135M-Instruct.Q4_1.gguf"), dtype)),
        tokenizer(hedgehog::make_tokenizer(loaded.checkpoint.tokenizer)) {}
};

hedgehog::Decoder& model_of(at::ScalarType dtype, const hedgehog::Tokenizer** tokenizer) {
  static std::unique_ptr<Model> models[2];
  std::unique_ptr<Model>& model = models[dtype == at::kBFloat16 ? 1 : 0];
  if (!model) model = std::make_unique<Model>(dtype);
  *tokenizer = model->tokenizer.get();
  return model->loaded.model;
}

void prefill(benchmark::State& state, const Form& form, at::ScalarType dtype) {
  const hedgehog::Tokenizer* tokenizer = nullptr;
  hedgehog::Decoder& model = model_of(dtype, &tokenizer);
  hedgehog::AttentionConfig attention;
  attention.kind = form.kind;
  attention.window = form.window;
  attention.sinks = form.sinks;
  model.set_attention(attention);
  hedgehog::generate(model, *tokenizer, request(512, 4));  // warms up
  hedgehog::GenerationResult result;
  for (auto _ : state) {
    result = hedgehog::generate(model, *tokenizer, request(state.range(0), kSteps));
    state.SetIterationTime(result.prompt_seconds);
  }
  state.counters["decode_milliseconds"] = 1e3 * result.seconds / static_cast<double>(result.steps);
  state.SetLabel(result.text);
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* threads = std::getenv("HEDGEHOG_THREADS")) at::set_num_threads(std::atoi(threads));
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    for (const Form& form : kForms) {
      for (const std::int64_t length : kLengths) {
        const std::string name = std::string("prefill/") + form.name + (dtype == at::kFloat ? "/fp32" : "/bf16");
        benchmark::RegisterBenchmark(name.c_str(), prefill, form, dtype)
            ->ArgName("n")
            ->Arg(length)
            ->Iterations(1)
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

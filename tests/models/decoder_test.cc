// Logits against transformers in fp32: every variant on tiny random models, and SmolLM2 itself out of its GGUF file.
#include "hedgehog/base/error.h"
#include "hedgehog/models/gpt2.h"
#include "model_support.h"

#include <cmath>
#include <cstdlib>

namespace hedgehog {
namespace {

using testing::fixture;
using testing::load_fixture;
using testing::relative_difference;

using ConfigChange = std::function<void(nlohmann::json&)>;

// What is said of a fixture whose configuration was changed; nothing if it loads all the same.
std::string refusal(const std::string& name, const ConfigChange& change) {
  Checkpoint checkpoint = open_checkpoint(fixture(name));
  change(checkpoint.config);
  try {
    const Decoder model(checkpoint);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

class VariantTest : public ::testing::TestWithParam<const char*> {};

TEST_P(VariantTest, LogitsEqualTransformers) {
  const Decoder model = load_fixture(GetParam());
  const SafetensorsFile expected(fixture(GetParam()) / "logits.expected");
  const at::NoGradGuard no_gradients;
  const at::Tensor logits = model.logits(model.forward(expected.load("tokens")));
  EXPECT_LE(relative_difference(logits, expected.load("logits")), 1e-5);
}

TEST_P(VariantTest, Bf16IsNear) {
  const Decoder model(open_checkpoint(fixture(GetParam())), at::kBFloat16);
  const SafetensorsFile expected(fixture(GetParam()) / "logits.expected");
  const at::NoGradGuard no_gradients;
  const at::Tensor logits = model.logits(model.forward(expected.load("tokens")));
  EXPECT_EQ(logits.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_difference(logits, expected.load("logits")), 0.1);
}

TEST_P(VariantTest, PiecesEqualTheWhole) {
  const Decoder model = load_fixture(GetParam());
  const at::Tensor tokens = SafetensorsFile(fixture(GetParam()) / "logits.expected").load("tokens");
  const at::NoGradGuard no_gradients;
  const at::Tensor whole = model.forward(tokens);
  std::vector<AttentionState> states;
  std::vector<at::Tensor> pieces;
  std::int64_t start = 0;
  for (const std::int64_t length : {13, 1, 1, 6, 1, 10}) {
    pieces.push_back(model.continue_from(states, tokens.narrow(1, start, length)));
    start += length;
  }
  ASSERT_EQ(start, tokens.size(1));
  EXPECT_EQ(states[0].position, start);
  EXPECT_LE(relative_difference(at::cat(pieces, 1), whole), 1e-4);
}

TEST_P(VariantTest, PackedDocumentsEqualSeparateOnes) {
  const Decoder model = load_fixture(GetParam());
  const at::Tensor tokens = SafetensorsFile(fixture(GetParam()) / "logits.expected").load("tokens");
  const at::NoGradGuard no_gradients;
  const std::vector<std::int64_t> lengths{5, 1, 17, 9};
  std::vector<at::Tensor> starts, separate;
  std::int64_t start = 0;
  for (const std::int64_t length : lengths) {
    starts.push_back(at::full({1, length}, start, at::kInt));
    separate.push_back(model.forward(tokens.narrow(1, start, length)));
    start += length;
  }
  EXPECT_LE(relative_difference(model.forward(tokens, at::cat(starts, 1)), at::cat(separate, 1)), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Decoder, VariantTest,
                         ::testing::Values("llama", "llama_grouped", "llama_tied", "llama_bias", "llama_rope_llama3",
                                           "llama_rope_linear", "llama_rope_yarn", "llama_rope_longrope", "mistral", "qwen2",
                                           "qwen3", "gpt2", "gpt2_relu"),
                         [](const auto& info) { return std::string(info.param); });

TEST(DecoderTest, LinearAndHybridInPiecesEqualTheWhole) {
  Decoder model = load_fixture("llama_grouped");
  const at::Tensor tokens = SafetensorsFile(fixture("llama_grouped") / "logits.expected").load("tokens");
  const at::NoGradGuard no_gradients;
  AttentionConfig linear, hybrid;
  linear.kind = AttentionKind::kLinear;
  hybrid.kind = AttentionKind::kHybrid;
  hybrid.window = 4;
  hybrid.sinks = 2;
  hybrid.gate = true;
  for (const AttentionConfig& config : {linear, hybrid}) {
    SCOPED_TRACE(to_string(config.kind));
    for (const std::vector<KeptSoftmax>& kept : {std::vector<KeptSoftmax>{{1}}, {{0, 1}, {1, 0}, {1, 1}}}) {
      model.set_attention(config, kept);
      EXPECT_EQ(model.layers()[0].attention.config().kind, config.kind);
      EXPECT_EQ(model.layers()[0].attention.config().softmax_heads.size(), kept.size() == 1 ? 0u : 1u);
      EXPECT_EQ(model.layers()[1].attention.config().kind, AttentionKind::kSoftmax);
      std::vector<AttentionState> states;
      const at::Tensor first = model.continue_from(states, tokens.narrow(1, 0, 20));
      std::vector<at::Tensor> pieces{first};
      for (std::int64_t i = 20; i < 32; ++i) pieces.push_back(model.continue_from(states, tokens.narrow(1, i, 1)));
      EXPECT_LE(relative_difference(at::cat(pieces, 1), model.forward(tokens)), 1e-3);
      DecoderPass pass = model.begin_pass(tokens, {});
      model.run_layers(pass, 0, 1);
      model.run_layers(pass, 1, 2);
      EXPECT_TRUE(at::equal(model.end_pass(pass), model.forward(tokens)));
    }
  }
}

TEST(DecoderTest, KeptSoftmaxIsALayerOrAHead) {
  EXPECT_EQ(kept_softmax("12"), (KeptSoftmax{12}));
  EXPECT_EQ(kept_softmax("0.3"), (KeptSoftmax{0, 3}));
  for (const char* text : {"0", "7", "12.0", "3.11"}) EXPECT_EQ(to_string(kept_softmax(text)), text);
  for (const char* text : {"", "-1", "a", "1.", "1.-1", ".1", "1.1.1", "1 ", "1,2", "99999999999999999999"}) {
    EXPECT_THROW(kept_softmax(text), Error) << text;
  }
  Decoder grouped = load_fixture("llama_grouped"), windowed = load_fixture("mistral");
  EXPECT_THROW(grouped.set_attention({.kind = AttentionKind::kLinear}, {{0, 9}}), Error);
  EXPECT_THROW(windowed.set_attention({.kind = AttentionKind::kLinear}, {{0, 0}}), Error) << "the layer has a window";
}

TEST(DecoderTest, VisitorSeesEveryLayerAndTheTeacherIsSoftmax) {
  Decoder model = load_fixture("qwen3");
  const at::Tensor tokens = SafetensorsFile(fixture("qwen3") / "logits.expected").load("tokens");
  const at::NoGradGuard no_gradients;
  const at::Tensor softmax = model.forward(tokens);
  AttentionConfig linear;
  linear.kind = AttentionKind::kLinear;
  model.set_attention(linear);
  for (DecoderLayer& layer : model.layers()) {
    layer.v.add_lora(2, 4, 1);
    layer.v.lora_b.fill_(0.3);
  }
  EXPECT_GT(relative_difference(model.forward(tokens), softmax), 1e-2);
  EXPECT_TRUE(at::equal(model.teacher().forward(tokens), softmax));

  std::vector<std::int64_t> layers;
  for (DecoderLayer& layer : model.layers()) layer.v.lora_b.zero_();
  const at::Tensor visited = model.forward_visiting(tokens, {}, true, [&](std::int64_t layer, const AttentionInput& input) {
    layers.push_back(layer);
    EXPECT_EQ(input.q.sizes(), (at::IntArrayRef{1, 4, 32, 16}));
    EXPECT_EQ(input.k.sizes(), (at::IntArrayRef{1, 2, 32, 16}));
    EXPECT_EQ(input.v.sizes(), (at::IntArrayRef{1, 2, 32, 16}));
    EXPECT_EQ(input.x.sizes(), (at::IntArrayRef{1, 32, 32}));
  });
  EXPECT_EQ(layers, (std::vector<std::int64_t>{0, 1}));
  EXPECT_LE(relative_difference(visited, softmax), 1e-6);
  EXPECT_LE(relative_difference(model.forward_visiting(tokens, {}, false, {}), model.forward(tokens)), 1e-6);
}

TEST(DecoderTest, RefusesWrongArguments) {
  Decoder model = load_fixture("llama");
  EXPECT_THROW(model.forward(at::full({1, 4}, 97, at::kLong)), Error);
  EXPECT_THROW(model.forward(at::full({1, 4}, -1, at::kLong)), Error);
  EXPECT_THROW(model.forward(at::zeros({4}, at::kLong)), Error);
  EXPECT_THROW(model.forward(at::zeros({1, 4}, at::kLong), at::zeros({1, 3}, at::kInt)), Error);
  EXPECT_THROW(model.set_attention({}, {{2}}), Error);
  std::vector<AttentionState> states(1);
  EXPECT_THROW(model.continue_from(states, at::zeros({1, 4}, at::kLong)), Error);
}

TEST(DecoderTest, MissingAndMisshapenTensorsAreNamed) {
  const auto message = [](const ConfigChange& change) { return refusal("llama", change); };
  EXPECT_NE(message([](auto& config) { config["num_hidden_layers"] = 3; }).find("model.layers.2."), std::string::npos);
  EXPECT_NE(message([](auto& config) { config["attention_bias"] = true; }).find("q_proj.bias"), std::string::npos);
  const std::string shape = message([](auto& config) { config["intermediate_size"] = 49; });
  EXPECT_NE(shape.find("gate_proj"), std::string::npos);
  EXPECT_NE(shape.find("model.safetensors"), std::string::npos);
}

TEST(DecoderTest, WeightsAreAllTensorsOfTheFile) {
  for (const char* name : {"llama", "llama_tied", "llama_bias", "qwen2", "qwen3"}) {
    const Checkpoint checkpoint = open_checkpoint(fixture(name));
    Decoder model(checkpoint);
    EXPECT_EQ(model.weights().size(), checkpoint.tensors->tensors().size()) << name;
    for (const auto& [key, tensor] : model.weights()) {
      EXPECT_TRUE(at::equal(*tensor, checkpoint.tensors->load(key).to(at::kFloat))) << key;
    }
  }
}

TEST(DecoderTest, Gpt2sTensorsGoThereAndBack) {
  for (const char* name : {"gpt2", "gpt2_relu"}) {
    const Checkpoint checkpoint = open_checkpoint(fixture(name));
    Decoder model(checkpoint);
    NamedTensors tensors;
    for (const auto& [key, tensor] : model.weights()) tensors.emplace_back(key, *tensor);
    const NamedTensors written = as_gpt2_tensors(tensors);
    std::size_t found = 0;
    for (const TensorInfo& info : checkpoint.tensors->tensors()) {
      if (info.name == "lm_head.weight" && !model.config().tied_embeddings) ++found;
      for (const auto& [key, tensor] : written) {
        if (key != info.name || info.name == "lm_head.weight") continue;
        ++found;
        EXPECT_TRUE(at::equal(tensor, checkpoint.tensors->load(key).to(at::kFloat))) << key;
      }
    }
    EXPECT_EQ(found, checkpoint.tensors->tensors().size()) << name;
    EXPECT_EQ(written.size(), found) << name;
  }
}

TEST(DecoderTest, LearnedPositionsEnd) {
  Decoder model = load_fixture("gpt2");
  const at::NoGradGuard no_gradients;
  EXPECT_NO_THROW(model.forward(at::zeros({1, 64}, at::kLong)));
  EXPECT_THROW(model.forward(at::zeros({1, 65}, at::kLong)), Error);
  std::vector<AttentionState> states;
  model.continue_from(states, at::zeros({1, 64}, at::kLong));
  EXPECT_THROW(model.continue_from(states, at::zeros({1, 1}, at::kLong)), Error);
  // Documents have positions of their own.
  EXPECT_NO_THROW(model.forward(at::zeros({1, 80}, at::kLong),
                                at::arange(80, at::kInt).div(40, "trunc").mul(40).to(at::kInt).unsqueeze(0)));
}

TEST(DecoderTest, Gpt2sDamagedFilesAreNamed) {
  const auto message = [](const ConfigChange& change) { return refusal("gpt2", change); };
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_NE(message([](auto& config) { config["n_layer"] = 3; }).find("h.2."), std::string::npos);
  EXPECT_NE(message([](auto& config) { config["n_embd"] = 36; }).find("wte.weight has shape"), std::string::npos);
  EXPECT_NE(message([](auto& config) { config["n_inner"] = 50; }).find("h.0.mlp.c_fc.weight (transposed)"), std::string::npos);
  EXPECT_NE(message([](auto& config) { config["n_head"] = 5; }).find("n_head"), std::string::npos);
  EXPECT_NE(message([](auto& config) { config["activation_function"] = "swish"; }).find("activation_function"),
            std::string::npos);
  EXPECT_NE(message([](auto& config) { config["scale_attn_by_inverse_layer_idx"] = true; }).find("inverse"), std::string::npos);
}

TEST(DecoderTest, FromScratchIsTheSameForASeed) {
  for (const char* name : {"llama", "gpt2"}) {
    nlohmann::json json = open_checkpoint(fixture(name)).config;
    json["initializer_range"] = 0.02;
    const DecoderConfig config = decoder_config(json);
    Decoder one(config, 3), same(config, 3), other(config, 4);
    const auto tokens = testing::random_tokens({2, 20}, config.vocabulary, 1);
    const at::NoGradGuard no_gradients;
    EXPECT_TRUE(at::equal(one.forward(tokens), same.forward(tokens)));
    EXPECT_GT(relative_difference(other.forward(tokens), one.forward(tokens)), 0.1);
    // Untrained it knows nothing: all tokens are about as likely.
    EXPECT_NEAR((-one.logits(one.forward(tokens)).log_softmax(-1)).mean().item<double>(), std::log(97.0), 0.1);
    json["initializer_range"] = 0.1;
    Decoder wide(decoder_config(json), 3);
    // As transformers draws them: GPT-2's ends of a branch smaller, by 1/√(2 · layers), Llama's alike.
    const double ending = std::string(name) == "gpt2" ? 1 / std::sqrt(2.0 * static_cast<double>(config.layers)) : 1;
    for (const auto& [weight, tensor] : wide.weights()) {
      if (tensor->dim() != 2) continue;
      const bool ends =
          weight.find("o_proj.weight") != std::string::npos || weight.find("down_proj.weight") != std::string::npos;
      EXPECT_NEAR(tensor->std().item<double>() / (ends ? ending : 1), 0.1, 0.01) << weight;
    }
  }
}

std::filesystem::path smollm2() {
  const char* folder = std::getenv("HEDGEHOG_MODELS");
  const std::filesystem::path models = folder != nullptr ? folder : std::filesystem::path(HEDGEHOG_SOURCE_DIR) / ".deps/models";
  return models / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

TEST(SmolLm2Test, LogitsEqualTransformers) {
  if (!std::filesystem::exists(smollm2())) GTEST_SKIP() << "skipped: no model (scripts/setup fetches it)";
  const Decoder model(open_checkpoint(smollm2()));
  const SafetensorsFile expected(fixture("smollm2.expected"));
  const at::NoGradGuard no_gradients;
  const at::Tensor logits = model.logits(model.forward(expected.load("tokens")))[0];
  const at::Tensor norms = expected.load("norms");
  const double largest = norms.select(1, 0).max().item<double>();
  const auto difference = [&](const at::Tensor& a, const at::Tensor& b) {
    return (a - b).abs().max().item<double>() / largest;
  };
  const at::Tensor columns = at::arange(0, logits.size(1), 97);
  EXPECT_LE(difference(logits.index_select(1, columns), expected.load("logits")), 1e-4);
  EXPECT_LE(difference(logits[-1].index_select(0, expected.load("top_ids")), expected.load("top_values")), 1e-4);
  EXPECT_LE(difference(logits.logsumexp(-1), norms.select(1, 1)), 1e-4);
  EXPECT_EQ(logits[-1].argmax().item<std::int64_t>(), expected.load("top_ids")[0].item<std::int64_t>());
}

}  // namespace
}  // namespace hedgehog

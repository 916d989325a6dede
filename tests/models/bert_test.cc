// BERT against transformers in fp32 (hidden states, pooler, heads, gradients) on tiny random models, converted forms with
// padding against unpadded rows, and all-MiniLM-L6-v2 itself.
#include "hedgehog/models/bert.h"

#include "encoder_support.h"
#include "hedgehog/base/atomic_file.h"
#include "tests/support/mutator.h"

#include <cstdlib>
#include <map>

namespace hedgehog {
namespace {

using namespace testing;

Bert load_bert(const std::string& name, at::ScalarType dtype = at::kFloat) {
  return Bert(open_checkpoint(fixture(name)), dtype);
}

BertInput input_of(const std::string& name) {
  const SafetensorsFile file = outputs_of(name);
  return {file.load("tokens"), file.load("token_types"), file.load("key_count"), {}};
}

class BertVariant : public ::testing::TestWithParam<const char*> {};

TEST_P(BertVariant, OutputsEqualTransformers) {
  const Bert model = load_bert(GetParam());
  const SafetensorsFile expected = outputs_of(GetParam());
  const at::NoGradGuard no_gradients;
  const at::Tensor hidden = model.forward(input_of(GetParam()));
  EXPECT_LE(relative_difference(hidden, expected.load("hidden")), 1e-5);
  EXPECT_LE(relative_difference(model.pooled(hidden), expected.load("pooled")), 1e-5);
  EXPECT_EQ(model.config().classifier, expected.contains("logits"));
  EXPECT_EQ(model.config().masked_words, expected.contains("word_logits"));
  if (expected.contains("logits")) {
    EXPECT_LE(relative_difference(model.class_logits(hidden), expected.load("logits")), 1e-5);
  }
  if (!expected.contains("word_logits")) return;
  EXPECT_LE(relative_difference(model.masked_word_logits(hidden), expected.load("word_logits")), 1e-5);
}

TEST_P(BertVariant, Bf16IsNear) {
  const Bert model = load_bert(GetParam(), at::kBFloat16);
  const at::NoGradGuard no_gradients;
  const at::Tensor hidden = model.forward(input_of(GetParam()));
  EXPECT_EQ(hidden.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_difference(hidden, outputs_of(GetParam()).load("hidden")), 0.05);
  EXPECT_EQ(model.pooled(hidden).scalar_type(), at::kBFloat16);
}

TEST_P(BertVariant, PaddedEqualsUnpaddedAndPacked) {
  Bert model = load_bert(GetParam());
  const BertInput input = input_of(GetParam());
  const at::NoGradGuard no_gradients;
  std::vector<AttentionConfig> forms{{}};
  for (const std::string& map : feature_map_names()) forms.push_back(linear_attention(map));
  for (const AttentionConfig& form : forms) {
    SCOPED_TRACE(to_string(form.kind) + " " + form.feature_map);
    model.set_attention(form);
    perturb_attention(model.layers());
    const at::Tensor hidden = model.forward(input);
    BertInput packed;
    std::vector<at::Tensor> tokens, types, starts;
    std::int64_t start = 0;
    for (std::int64_t b = 0; b < input.tokens.size(0); ++b) {
      const std::int64_t count = input.key_count[b].item<std::int64_t>();
      tokens.push_back(input.tokens.narrow(0, b, 1).slice(1, 0, count));
      types.push_back(input.token_types.narrow(0, b, 1).slice(1, 0, count));
      starts.push_back(at::full({1, count}, start, at::kInt));
      const at::Tensor alone = model.forward({tokens.back(), types.back(), {}, {}});
      EXPECT_LE(relative_difference(hidden.narrow(0, b, 1).slice(1, 0, count), alone), 1e-5) << "text " << b;
      start += count;
    }
    const at::Tensor together = model.forward({at::cat(tokens, 1), at::cat(types, 1), {}, at::cat(starts, 1)});
    for (std::int64_t b = 0; b < input.tokens.size(0); ++b) {
      const std::int64_t begin = starts[b][0][0].item<std::int64_t>(), count = tokens[b].size(1);
      EXPECT_LE(relative_difference(together.slice(1, begin, begin + count), hidden.narrow(0, b, 1).slice(1, 0, count)), 1e-5)
          << "document " << b;
    }
  }
}

TEST_P(BertVariant, WeightsAreAllTensorsOfTheFile) {
  const Checkpoint checkpoint = open_checkpoint(fixture(GetParam()));
  Bert model(checkpoint);
  std::size_t others = 0;  // what BERT was pretrained with and nobody uses
  for (const TensorInfo& info : checkpoint.tensors->tensors()) others += info.name.starts_with("cls.seq_relationship");
  EXPECT_EQ(model.weights().size() + others, checkpoint.tensors->tensors().size());
  for (const auto& [name, tensor] : model.weights()) {
    std::string stored = name;
    if (std::string(GetParam()) == "bert_old") {
      stored.erase(0, std::string("bert.").size());
      if (const auto at = stored.find("LayerNorm."); at != std::string::npos) {
        stored.replace(at, std::string::npos, stored.ends_with("bias") ? "LayerNorm.beta" : "LayerNorm.gamma");
      }
    }
    EXPECT_TRUE(at::equal(*tensor, checkpoint.tensors->load(stored).to(at::kFloat))) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Bert, BertVariant, ::testing::Values("bert", "bert_classifier", "bert_old"),
                         [](const auto& info) { return std::string(info.param); });

TEST(BertTest, GradientsEqualTransformers) {
  {
    Bert model = load_bert("bert");
    const SafetensorsFile expected = outputs_of("bert");
    expect_gradients(model.weights(), expected, [&] {
      const at::Tensor logits = model.masked_word_logits(model.forward(input_of("bert")));
      return at::cross_entropy_loss(logits.flatten(0, 1), expected.load("word_labels").flatten());
    });
  }
  Bert model = load_bert("bert_classifier");
  const SafetensorsFile expected = outputs_of("bert_classifier");
  expect_gradients(model.weights(), expected, [&] {
    return at::cross_entropy_loss(model.class_logits(model.forward(input_of("bert_classifier"))), expected.load("labels"));
  });
}

TEST(BertTest, ConvertedFormsGradientsAreSlopes) {
  Bert model = load_bert("bert_classifier");
  model.set_attention(linear_attention(), {{1}});
  perturb_attention(model.layers());
  std::vector<at::Tensor> leaves = trainable(model.layers());
  for (auto& [name, tensor] : model.weights()) {
    if (name.find("embeddings") != std::string::npos) leaves.push_back(tensor->requires_grad_(true));
  }
  const BertInput input = input_of("bert_classifier");
  expect_slopes(leaves, [&] {
    const at::Tensor logits = model.class_logits(model.forward(input));
    return (logits * random_normal(logits.sizes(), 9)).sum() * 5;
  });
}

TEST(BertTest, VisitorSeesEveryLayerAndTheTeacherIsSoftmax) {
  Bert model = load_bert("bert");
  const BertInput input = input_of("bert");
  const at::NoGradGuard no_gradients;
  const at::Tensor softmax = model.forward(input);
  model.set_attention(linear_attention());
  EXPECT_FALSE(model.layers()[0].attention.config().causal);
  for (EncoderLayer& layer : model.layers()) {
    layer.v.add_lora(2, 4, 1);
    layer.v.lora_b.fill_(0.3);
  }
  model.dropout_seed = 1;
  EXPECT_GT(relative_difference(model.forward(input), softmax), 1e-2);
  EXPECT_TRUE(at::equal(model.teacher().forward(input), softmax));

  std::vector<std::int64_t> layers;
  for (EncoderLayer& layer : model.layers()) layer.v.lora_b.zero_();
  const at::Tensor visited = model.forward_visiting(input, true, [&](std::int64_t layer, const AttentionInput& seen) {
    layers.push_back(layer);
    for (const at::Tensor& x : {seen.q, seen.k, seen.v}) EXPECT_EQ(x.sizes(), (at::IntArrayRef{3, 4, 14, 8}));
    EXPECT_EQ(seen.x.sizes(), (at::IntArrayRef{3, 14, 32}));
    EXPECT_TRUE(at::equal(seen.key_count, input.key_count));
  });
  EXPECT_EQ(layers, (std::vector<std::int64_t>{0, 1}));
  EXPECT_LE(relative_difference(visited, softmax), 1e-6);
  model.dropout_seed = std::nullopt;
  EXPECT_LE(relative_difference(model.forward_visiting(input, false, {}), model.forward(input)), 1e-6);
  model.set_attention(linear_attention(), {{1}});
  EXPECT_EQ(model.layers()[0].attention.config().kind, AttentionKind::kLinear);
  EXPECT_EQ(model.layers()[1].attention.config().kind, AttentionKind::kSoftmax);
  model.control = AttentionControl::kNoAttention;
  EXPECT_GT(relative_difference(model.forward(input), softmax), 1e-2);
  EXPECT_LE(relative_difference(model.forward_visiting(input, true, {}), softmax), 1e-6);
}

TEST(BertTest, DropoutIsAFunctionOfItsSeed) {
  Bert model = load_bert("bert_classifier");
  const BertInput input = input_of("bert_classifier");
  const at::NoGradGuard no_gradients;
  const auto logits = [&](std::optional<std::uint64_t> seed) {
    model.dropout_seed = seed;
    return model.class_logits(model.forward(input));
  };
  const at::Tensor plain = logits(std::nullopt);
  EXPECT_TRUE(at::equal(logits(3), logits(3)));
  EXPECT_FALSE(at::equal(logits(3), logits(4)));
  EXPECT_FALSE(at::equal(logits(3), plain));
  EXPECT_TRUE(at::equal(logits(std::nullopt), plain));
}

TEST(BertTest, NewWeightsComeFromTheSeedAndLearn) {
  BertConfig config;
  config.encoder = {.hidden = 32, .intermediate = 64, .layers = 2, .heads = 4, .dropout = 0.1, .labels = 2};
  config.vocabulary = 50;
  config.max_positions = 16;
  Bert model(config, 7);
  EXPECT_TRUE(at::equal(*model.weights()[0].second, *Bert(config, 7).weights()[0].second));
  EXPECT_FALSE(at::equal(*model.weights()[0].second, *Bert(config, 8).weights()[0].second));
  EXPECT_NEAR(model.weights()[0].second->std().item<double>(), 0.02, 2e-3);
  for (const auto& [name, tensor] : model.weights()) {
    const bool norm = name.find("LayerNorm") != std::string::npos, bias = name.ends_with("bias");
    if (!norm && !bias) continue;
    EXPECT_TRUE(at::equal(*tensor, at::full_like(*tensor, bias ? 0 : 1))) << name;
  }
  // Does token 7 stand anywhere in the text? With linear attention and padding, by plain gradient steps with momentum.
  model.set_attention(linear_attention());
  std::vector<at::Tensor> leaves, velocities;
  for (auto& [name, tensor] : model.weights()) leaves.push_back(tensor->requires_grad_(true));
  for (EncoderLayer& layer : model.layers()) {
    for (auto& [name, tensor] : layer.attention.parameters()) leaves.push_back(tensor->requires_grad_(true));
  }
  for (const at::Tensor& leaf : leaves) velocities.push_back(at::zeros_like(leaf));
  BertInput input{random_tokens({32, 12}, 50, 3), {}, random_tokens({32}, 7, 4).add(6), {}};
  input.tokens = input.tokens.masked_fill(input.tokens.eq(7), 8);
  const at::Tensor labels = at::arange(32, at::kLong).remainder(2);
  for (std::int64_t b = 1; b < 32; b += 2) input.tokens[b][b % 5] = 7;
  const auto loss = [&] { return at::cross_entropy_loss(model.class_logits(model.forward(input)), labels); };
  const double first = loss().item<double>();
  for (std::uint64_t step = 0; step < 60; ++step) {
    model.dropout_seed = step;
    loss().backward();
    const at::NoGradGuard no_gradients;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      if (!leaves[i].grad().defined()) continue;
      velocities[i].mul_(0.9).add_(leaves[i].grad());
      leaves[i].sub_(velocities[i], 0.05);
      leaves[i].mutable_grad() = at::Tensor();
    }
  }
  model.dropout_seed = std::nullopt;
  EXPECT_NEAR(first, std::log(2.0), 0.1);
  EXPECT_LT(loss().item<double>(), 0.3);
}

TEST(BertTest, AClassifierCanBeMadeAnew) {
  Bert model = load_bert("bert_old");
  const BertInput input = input_of("bert_old");
  const at::NoGradGuard no_gradients;
  const at::Tensor hidden = model.forward(input), pooled = model.pooled(hidden);
  EXPECT_THROW(model.class_logits(hidden), Error);
  EXPECT_THROW(model.masked_word_logits(hidden), Error);
  model.start_classifier(1, 5);
  EXPECT_EQ(model.class_logits(hidden).sizes(), (at::IntArrayRef{3, 1}));
  EXPECT_TRUE(at::equal(model.pooled(hidden), pooled)) << "the file's pooler stays";
  EXPECT_EQ(model.weights().back().first, "classifier.bias");
  EXPECT_EQ(model.config().encoder.labels, 1);
  EXPECT_THROW(model.start_classifier(0, 5), Error);
}

TEST(BertTest, AClassifierOfPairsReadsBothTheirProductAndTheirDifference) {
  BertConfig config = load_bert("bert").config();
  config.pooler = config.classifier = config.pair_classifier = true;
  Bert model(config, 7);
  const at::NoGradGuard no_gradients;
  const at::Tensor hidden = model.forward({at::arange(24, at::kLong).view({4, 6})}), pooled = model.pooled(hidden);
  std::map<std::string, at::Tensor*> weights;
  for (const auto& [name, tensor] : model.weights()) weights[name] = tensor;
  for (std::int64_t pair = 0; pair < 2; ++pair) {
    const at::Tensor x = pooled[pair], y = pooled[2 + pair];
    const at::Tensor logits = weights["classifier.weight"]->matmul(at::cat({x, y, x * y, x - y})) + *weights["classifier.bias"];
    EXPECT_LE(relative_difference(model.class_logits(hidden)[pair], logits), 1e-6);
  }
  EXPECT_THROW(model.class_logits(hidden.narrow(0, 0, 3)), Error);
}

TEST(BertTest, RefusesWrongArguments) {
  Bert model = load_bert("bert");
  const auto tokens = [](std::int64_t length) { return at::zeros({2, length}, at::kLong); };
  const auto message = [&](const BertInput& input) { return message_of([&] { model.forward(input); }); };
  EXPECT_NE(message({tokens(21), {}, {}, {}}).find("20"), std::string::npos);
  EXPECT_NE(message({at::full({2, 3}, 97, at::kLong), {}, {}, {}}).find("96"), std::string::npos);
  EXPECT_NE(message({at::full({2, 3}, -1, at::kLong), {}, {}, {}}), "");
  EXPECT_NE(message({at::zeros({3}, at::kLong), {}, {}, {}}), "");
  EXPECT_NE(message({tokens(4), at::full({2, 4}, 3, at::kLong), {}, {}}).find("token types"), std::string::npos);
  EXPECT_NE(message({tokens(4), tokens(3), {}, {}}), "");
  EXPECT_NE(message({tokens(4), {}, at::full({2}, 5, at::kInt), {}}).find("key_count"), std::string::npos);
  EXPECT_NE(message({tokens(4), {}, at::full({3}, 4, at::kInt), {}}), "");
  EXPECT_NE(message({tokens(4), {}, {}, at::zeros({2, 3}, at::kInt)}), "");
  EXPECT_EQ(message({tokens(4), {}, at::full({2}, 4, at::kInt), {}}), "");
  EXPECT_NE(message({tokens(4), {}, {}, at::full({2, 4}, 1, at::kInt)}).find("segment_start"), std::string::npos);
  EXPECT_THROW(model.set_attention({}, {{2}}), Error);
  EXPECT_THROW(model.set_attention({.window = 4}), Error);
  EXPECT_THROW(model.set_attention({.kind = AttentionKind::kHybrid, .window = 4}), Error);
  EXPECT_THROW(model.set_attention({.kind = AttentionKind::kLinear, .gate = true}), Error);
}

TEST(BertTest, ConfigurationsAndTensorsThatDoNotFitAreNamed) {
  const auto message = [](const std::function<void(nlohmann::json&)>& change) {
    Checkpoint checkpoint = open_checkpoint(fixture("bert"));
    change(checkpoint.config);
    return message_of([&] { const Bert model(checkpoint); });
  };
  const auto set = [](const char* key, const nlohmann::json& value) {
    return [key, value](nlohmann::json& config) { config[key] = value; };
  };
  EXPECT_EQ(message([](auto&) {}), "");
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, nlohmann::json>>{{"model_type", "roberta"},
                                                           {"hidden_act", "swish"},
                                                           {"position_embedding_type", "relative_key"},
                                                           {"is_decoder", true},
                                                           {"hidden_dropout_prob", 1},
                                                           {"pad_token_id", 97},
                                                           {"id2label", nlohmann::json::object()},
                                                           {"num_attention_heads", 5}}) {
    EXPECT_NE(message(set(key, value)).find(key), std::string::npos) << key;
  }
  EXPECT_NE(message(set("num_hidden_layers", 3)).find("bert.encoder.layer.2."), std::string::npos);
  const std::string shape = message(set("intermediate_size", 49));
  EXPECT_NE(shape.find("intermediate.dense.weight"), std::string::npos);
  EXPECT_NE(shape.find("model.safetensors"), std::string::npos);
}

TEST(BertTest, ADamagedConfigIsAlwaysAnError) {
  const std::string original = read_text_file(fixture("bert_old") / "config.json");
  const Checkpoint checkpoint = open_checkpoint(fixture("bert_old"));
  Mutator mutator(19);
  int read = 0, refused = 0;
  for (int i = 0; i < 2000; ++i) {
    Checkpoint damaged = checkpoint;
    damaged.config = nlohmann::json::parse(mutator.mutate(original), nullptr, /*allow_exceptions=*/false);
    if (damaged.config.is_discarded()) continue;
    ++read;
    try {
      const Bert model(damaged);
    } catch (const Error&) {
      ++refused;
    } catch (const std::exception& error) {
      FAIL() << "mutation " << i << " (" << mutator.what() << "): " << error.what();
    }
  }
  EXPECT_GT(read, 100);
  EXPECT_GT(refused, 50);
}

std::filesystem::path minilm() {
  const char* folder = std::getenv("HEDGEHOG_MODELS");
  const std::filesystem::path models = folder != nullptr ? folder : std::filesystem::path(HEDGEHOG_SOURCE_DIR) / ".deps/models";
  return models / "all-MiniLM-L6-v2";
}

TEST(MiniLmTest, HiddenStatesEqualTransformers) {
  if (!std::filesystem::exists(minilm())) GTEST_SKIP() << "skipped: no model at " << minilm() << " (scripts/model minilm)";
  const Bert model(open_checkpoint(minilm()));
  const auto expected = nlohmann::json::parse(read_text_file(fixture("minilm.json")));
  const auto texts = expected["tokens"].get<std::vector<std::vector<std::int64_t>>>();
  const auto counts = expected["key_count"].get<std::vector<std::int64_t>>();
  std::vector<at::Tensor> rows;
  for (const auto& text : texts) rows.push_back(at::tensor(text, at::kLong));
  const at::NoGradGuard no_gradients;
  const at::Tensor hidden = model.forward({at::stack(rows), {}, at::tensor(counts, at::kInt), {}});
  std::vector<at::Tensor> means;
  for (std::size_t b = 0; b < texts.size(); ++b) {
    const at::Tensor own = hidden[static_cast<std::int64_t>(b)].slice(0, 0, counts[b]);
    const auto norms = at::tensor(expected["norms"][b].get<std::vector<double>>(), at::kFloat);
    EXPECT_LE(relative_difference(own.norm(2, -1), norms), 1e-5);
    const auto values = at::tensor(expected["values"][b].get<std::vector<double>>(), at::kFloat);
    EXPECT_LE(relative_difference(own.slice(1, 0, std::nullopt, expected["stride"].get<std::int64_t>()).flatten(), values),
              1e-5);
    means.push_back(own.mean(0));
  }
  const auto pooled = at::tensor(expected["pooled_norms"].get<std::vector<double>>(), at::kFloat);
  EXPECT_LE(relative_difference(model.pooled(hidden).norm(2, -1), pooled), 1e-5);
  EXPECT_NEAR(at::cosine_similarity(means[0], means[1], 0).item<double>(), expected["similarity"].get<double>(), 1e-5);
}

}  // namespace
}  // namespace hedgehog

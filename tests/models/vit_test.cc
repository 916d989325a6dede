// ViT and DeiT against transformers in fp32 (hidden states, logits, gradients) on tiny random models, and the converted forms.
#include "hedgehog/models/vit.h"

#include "encoder_support.h"
#include "hedgehog/base/atomic_file.h"
#include "tests/support/mutator.h"

#include <cmath>

namespace hedgehog {
namespace {

using namespace testing;

Vit load_vit(const std::string& name, at::ScalarType dtype = at::kFloat) {
  return Vit(open_checkpoint(fixture(name)), dtype);
}

class VitVariant : public ::testing::TestWithParam<const char*> {};

TEST_P(VitVariant, OutputsEqualTransformers) {
  const Vit model = load_vit(GetParam());
  const SafetensorsFile expected = outputs_of(GetParam());
  const at::NoGradGuard no_gradients;
  const at::Tensor hidden = model.forward(expected.load("images"));
  EXPECT_LE(relative_difference(hidden, expected.load("hidden")), 1e-5);
  EXPECT_LE(relative_difference(model.class_logits(hidden), expected.load("logits")), 1e-5);
}

TEST_P(VitVariant, Bf16IsNear) {
  const Vit model = load_vit(GetParam(), at::kBFloat16);
  const SafetensorsFile expected = outputs_of(GetParam());
  const at::NoGradGuard no_gradients;
  const at::Tensor hidden = model.forward(expected.load("images"));
  EXPECT_EQ(hidden.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_difference(hidden, expected.load("hidden")), 0.05);
}

TEST_P(VitVariant, GradientsEqualTransformers) {
  Vit model = load_vit(GetParam());
  const SafetensorsFile expected = outputs_of(GetParam());
  expect_gradients(model.weights(), expected, [&] {
    return at::cross_entropy_loss(model.class_logits(model.forward(expected.load("images"))), expected.load("labels"));
  });
}

TEST_P(VitVariant, WeightsAreAllTensorsOfTheFile) {
  const Checkpoint checkpoint = open_checkpoint(fixture(GetParam()));
  Vit model(checkpoint);
  EXPECT_EQ(model.weights().size(), checkpoint.tensors->tensors().size());
  for (const auto& [name, tensor] : model.weights()) {
    EXPECT_TRUE(at::equal(*tensor, checkpoint.tensors->load(name).to(at::kFloat))) << name;
  }
}

TEST_P(VitVariant, ConvertedABatchIsItsImagesOneByOne) {
  Vit model = load_vit(GetParam());
  const at::Tensor images = outputs_of(GetParam()).load("images");
  const at::NoGradGuard no_gradients;
  const at::Tensor softmax = model.forward(images);
  for (const std::string& map : feature_map_names()) {
    model.set_attention(linear_attention(map));
    perturb_attention(model.layers());
    const at::Tensor hidden = model.forward(images);
    EXPECT_GT(relative_difference(hidden, softmax), 1e-2) << map;
    // A map with negative values has sums near 0, and products of one image may be summed in another order than a batch's.
    const double bound = map == "pair-gelu" ? 1e-4 : 1e-5;
    for (std::int64_t b = 0; b < images.size(0); ++b) {
      EXPECT_LE(relative_difference(model.forward(images.narrow(0, b, 1)), hidden.narrow(0, b, 1)), bound) << map << " " << b;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Vit, VitVariant, ::testing::Values("vit", "vit_grey", "deit", "deit_one_classifier"),
                         [](const auto& info) { return std::string(info.param); });

// The same tensors under the names that transformers 5 has inside, without the base model's prefix.
TEST(VitTest, ReadsNewerNames) {
  const TemporaryFolder folder;
  const Checkpoint checkpoint = open_checkpoint(fixture("vit"));
  std::filesystem::copy_file(fixture("vit") / "config.json", folder.path() / "config.json");
  const std::vector<std::pair<std::string, std::string>> renamed{{"vit.", ""},
                                                                 {"encoder.layer.", "layers."},
                                                                 {"attention.attention.query", "attention.q_proj"},
                                                                 {"attention.attention.key", "attention.k_proj"},
                                                                 {"attention.attention.value", "attention.v_proj"},
                                                                 {"attention.output.dense", "attention.o_proj"},
                                                                 {"intermediate.dense", "mlp.fc1"},
                                                                 {"output.dense", "mlp.fc2"}};
  NamedTensors tensors;
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    std::string name = info.name;
    for (const auto& [from, to] : renamed) {
      if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
    }
    tensors.emplace_back(name, checkpoint.tensors->load(info.name));
  }
  write_safetensors(folder.path() / "model.safetensors", tensors);
  const at::NoGradGuard no_gradients;
  const at::Tensor images = outputs_of("vit").load("images");
  EXPECT_TRUE(at::equal(Vit(open_checkpoint(folder.path())).forward(images), load_vit("vit").forward(images)));
}

TEST(VitTest, ConvertedFormsGradientsAreSlopes) {
  Vit model = load_vit("deit");
  model.set_attention(linear_attention("hedgehog-exp"), {{0}});
  perturb_attention(model.layers());
  std::vector<at::Tensor> leaves = trainable(model.layers());
  for (auto& [name, tensor] : model.weights()) {
    if (name.find("embeddings") != std::string::npos) leaves.push_back(tensor->requires_grad_(true));
  }
  const at::Tensor images = outputs_of("deit").load("images");
  expect_slopes(leaves, [&] {
    const at::Tensor logits = model.class_logits(model.forward(images));
    return (logits * random_normal(logits.sizes(), 9)).sum() * 5;
  });
}

TEST(VitTest, VisitorSeesEveryLayerAndTheTeacherIsSoftmax) {
  Vit model = load_vit("deit");
  const at::Tensor images = outputs_of("deit").load("images");
  const at::NoGradGuard no_gradients;
  const at::Tensor softmax = model.forward(images);
  model.set_attention(linear_attention());
  for (EncoderLayer& layer : model.layers()) {
    layer.v.add_lora(2, 4, 1);
    layer.v.lora_b.fill_(0.3);
  }
  EXPECT_GT(relative_difference(model.forward(images), softmax), 1e-2);
  EXPECT_TRUE(at::equal(model.teacher().forward(images), softmax));
  std::vector<std::int64_t> layers;
  for (EncoderLayer& layer : model.layers()) layer.v.lora_b.zero_();
  const at::Tensor visited = model.forward_visiting(images, true, [&](std::int64_t layer, const AttentionInput& seen) {
    layers.push_back(layer);
    for (const at::Tensor& x : {seen.q, seen.k, seen.v}) EXPECT_EQ(x.sizes(), (at::IntArrayRef{2, 4, 6, 8}));
  });
  EXPECT_EQ(layers, (std::vector<std::int64_t>{0, 1}));
  EXPECT_LE(relative_difference(visited, softmax), 1e-6);
  EXPECT_LE(relative_difference(model.forward_visiting(images, false, {}), model.forward(images)), 1e-6);
}

TEST(VitTest, NewWeightsComeFromTheSeedAndLearn) {
  VitConfig config;
  config.encoder = {.hidden = 32, .intermediate = 64, .layers = 2, .heads = 4, .dropout = 0.1, .labels = 2};
  config.channels = 1;
  config.image_height = config.image_width = 8;
  config.patch_height = config.patch_width = 4;
  Vit model(config, 7);
  EXPECT_TRUE(at::equal(*model.weights()[1].second, *Vit(config, 7).weights()[1].second));
  EXPECT_FALSE(at::equal(*model.weights()[1].second, *Vit(config, 8).weights()[1].second));
  // Is the bright half above or below? With linear attention, by plain gradient steps with momentum.
  model.set_attention(linear_attention());
  std::vector<at::Tensor> leaves, velocities;
  for (auto& [name, tensor] : model.weights()) leaves.push_back(tensor->requires_grad_(true));
  for (const at::Tensor& leaf : leaves) velocities.push_back(at::zeros_like(leaf));
  const at::Tensor images = random_normal({32, 1, 8, 8}, 3), labels = at::arange(32, at::kLong).remainder(2);
  for (std::int64_t b = 0; b < 32; ++b) images[b].slice(1, b % 2 * 4, b % 2 * 4 + 4).add_(1);
  const auto loss = [&] { return at::cross_entropy_loss(model.class_logits(model.forward(images)), labels); };
  const double first = loss().item<double>();
  for (std::uint64_t step = 0; step < 100; ++step) {
    model.dropout_seed = step;
    loss().backward();
    const at::NoGradGuard no_gradients;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      velocities[i].mul_(0.9).add_(leaves[i].grad());
      leaves[i].sub_(velocities[i], 0.05);
      leaves[i].mutable_grad() = at::Tensor();
    }
  }
  model.dropout_seed = std::nullopt;
  EXPECT_NEAR(first, std::log(2.0), 0.2);
  EXPECT_LT(loss().item<double>(), 0.3);
}

TEST(VitTest, AClassifierCanBeMadeAnew) {
  Vit model = load_vit("deit");
  const at::NoGradGuard no_gradients;
  const at::Tensor hidden = model.forward(outputs_of("deit").load("images"));
  model.start_classifier(7, 5);
  EXPECT_EQ(model.class_logits(hidden).sizes(), (at::IntArrayRef{2, 7}));
  EXPECT_EQ(model.weights().back().first, "classifier.bias");
  EXPECT_THROW(model.start_classifier(0, 5), Error);
}

TEST(VitTest, AnImageOfAnotherSizeIsAnErrorThatSaysWhich) {
  const Vit model = load_vit("vit");
  const auto message = [&](const at::Tensor& images) { return message_of([&] { model.forward(images); }); };
  EXPECT_EQ(message(at::zeros({1, 3, 12, 17})), "");
  for (const at::Tensor& images :
       {at::zeros({1, 3, 12, 16}), at::zeros({1, 1, 12, 17}), at::zeros({3, 12, 17}), at::zeros({1, 3, 12, 17}, at::kByte)}) {
    EXPECT_NE(message(images).find("[batch, 3, 12, 17]"), std::string::npos);
  }
  EXPECT_NE(message(at::zeros({1, 3, 12, 16})).find("[1, 3, 12, 16]"), std::string::npos);
}

TEST(VitTest, ConfigurationsAndTensorsThatDoNotFitAreNamed) {
  const auto message = [](const std::function<void(nlohmann::json&)>& change) {
    Checkpoint checkpoint = open_checkpoint(fixture("vit"));
    change(checkpoint.config);
    return message_of([&] { const Vit model(checkpoint); });
  };
  const auto set = [](const char* key, const nlohmann::json& value) {
    return [key, value](nlohmann::json& config) { config[key] = value; };
  };
  EXPECT_EQ(message([](auto&) {}), "");
  using nlohmann::json;
  for (const auto& [key, value] : std::vector<std::pair<const char*, json>>{{"model_type", "swin"},
                                                                            {"hidden_act", "swish"},
                                                                            {"image_size", json::array({12})},
                                                                            {"image_size", json::array({12, "17"})},
                                                                            {"patch_size", 13},
                                                                            {"patch_size", 0},
                                                                            {"num_attention_heads", 5}}) {
    EXPECT_NE(message(set(key, value)).find(key), std::string::npos) << key << " " << value;
  }
  EXPECT_NE(message(set("image_size", 20)).find("position_embeddings"), std::string::npos);
  EXPECT_NE(message(set("num_channels", 1)).find("projection"), std::string::npos);
  EXPECT_NE(message(set("model_type", "deit")).find("deit.embeddings"), std::string::npos);
}

TEST(VitTest, ADamagedConfigIsAlwaysAnError) {
  const std::string original = read_text_file(fixture("vit_grey") / "config.json");
  const Checkpoint checkpoint = open_checkpoint(fixture("vit_grey"));
  Mutator mutator(20);
  int read = 0, refused = 0;
  for (int i = 0; i < 2000; ++i) {
    Checkpoint damaged = checkpoint;
    damaged.config = nlohmann::json::parse(mutator.mutate(original), nullptr, /*allow_exceptions=*/false);
    if (damaged.config.is_discarded()) continue;
    ++read;
    try {
      const Vit model(damaged);
    } catch (const Error&) {
      ++refused;
    } catch (const std::exception& error) {
      FAIL() << "mutation " << i << " (" << mutator.what() << "): " << error.what();
    }
  }
  EXPECT_GT(read, 100);
  EXPECT_GT(refused, 50);
}

}  // namespace
}  // namespace hedgehog

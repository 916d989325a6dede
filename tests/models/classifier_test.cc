// Classifiers of every family: from a configuration, written and read again, converted and not.
#include "hedgehog/models/classifier.h"

#include "hedgehog/base/error.h"
#include "model_support.h"

#include <ATen/core/grad_mode.h>

namespace hedgehog {
namespace {

using nlohmann::json;
using testing::random_normal;
using testing::random_tokens;
using testing::relative_difference;

struct Family {
  const char* name;
  json config;
  ClassifierInput input;
  std::int64_t labels;
};

constexpr std::int64_t kVocabulary = 50;  // and a decoder's labels

std::vector<Family> families() {
  ClassifierInput texts, images, tokens;
  texts.tokens = random_tokens({3, 12}, kVocabulary, 1);
  texts.token_types = random_tokens({3, 12}, 2, 2);
  texts.key_count = at::tensor({12, 5, 9}, at::kInt);
  images.images = random_normal({3, 1, 8, 8}, 3);
  tokens.tokens = random_tokens({3, 12}, kVocabulary, 4);
  tokens.key_count = texts.key_count;
  const json encoder = {{"hidden_size", 32},       {"num_hidden_layers", 2}, {"num_attention_heads", 4},
                        {"intermediate_size", 48}, {"num_labels", 3},        {"initializer_range", 0.3}};
  json bert = encoder, vit = encoder;
  bert.update({{"model_type", "bert"}, {"vocab_size", kVocabulary}, {"max_position_embeddings", 16}});
  vit.update({{"model_type", "vit"}, {"image_size", 8}, {"patch_size", 4}, {"num_channels", 1}});
  const json gpt2 = {{"model_type", "gpt2"}, {"vocab_size", kVocabulary}, {"n_embd", 32}, {"n_layer", 2},
                     {"n_head", 4},          {"n_positions", 16}};
  json llama = encoder;
  llama.update({{"model_type", "llama"}, {"vocab_size", kVocabulary}, {"rms_norm_eps", 1e-5}, {"tie_word_embeddings", true}});
  return {{"bert", bert, texts, 3},
          {"vit", vit, images, 3},
          {"gpt2", gpt2, tokens, kVocabulary},
          {"llama", llama, tokens, kVocabulary}};
}

void perturb(Classifier& model) {
  at::manual_seed(5);
  for (const auto& [name, tensor] : all_weights(model)) tensor->add_(at::randn_like(*tensor) * 0.1);
}

TEST(Classifier, IsWrittenAndReadAgain) {
  const at::NoGradGuard no_gradients;
  for (auto& family : families()) {
    for (const bool converted : {false, true}) {
      SCOPED_TRACE(std::string(family.name) + (converted ? ", converted" : ""));
      const auto model = make_classifier(family.config, 3);
      if (converted) model->set_attention({.kind = AttentionKind::kLinear}, {{1}});
      perturb(*model);
      EXPECT_EQ(model->labels(), family.labels);
      const auto logits = model->forward(family.input);
      EXPECT_EQ(logits.sizes(), (at::IntArrayRef{3, family.labels}));
      const testing::TemporaryFolder folder;
      write_classifier(folder.path() / "model", *model, {{"task", "none"}});
      const auto again = load_classifier(open_checkpoint(folder.path() / "model"), 0, 0);
      EXPECT_LE(relative_difference(again->forward(family.input), logits), 1e-6);
      EXPECT_EQ(again->attentions().front()->config().kind, converted ? AttentionKind::kLinear : AttentionKind::kSoftmax);
      EXPECT_EQ(again->attentions().back()->config().kind, AttentionKind::kSoftmax);
    }
  }
}

// A decoder is taught each token but the first and its label; padding is not taught.
TEST(Classifier, LabelledLogitsAreWhatTrainingCompares) {
  const at::NoGradGuard no_gradients;
  const auto labels = at::tensor({1, 2, 0}, at::kLong);
  for (auto& family : families()) {
    SCOPED_TRACE(family.name);
    const auto model = make_classifier(family.config, 3);
    perturb(*model);
    const auto found = model->labelled_logits(family.input, labels);
    const auto logits = model->forward(family.input);
    if (family.labels != kVocabulary) {
      EXPECT_TRUE(at::equal(found.logits, logits));
      EXPECT_TRUE(at::equal(found.labels, labels));
      continue;
    }
    ASSERT_EQ(found.logits.sizes(), (at::IntArrayRef{12 + 5 + 9, family.labels}));
    std::int64_t row = 0;
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t count = family.input.key_count[b].item<std::int64_t>();
      for (std::int64_t i = 0; i < count; ++i, ++row) {
        const bool last = i + 1 == count;
        EXPECT_TRUE(at::equal(found.labels[row], last ? labels[b] : family.input.tokens[b][i + 1]));
        ClassifierInput prefix;
        prefix.tokens = family.input.tokens.narrow(0, b, 1).narrow(1, 0, i + 1);
        EXPECT_LE(relative_difference(found.logits[row], model->forward(prefix)[0]), 1e-5);
        if (last) {
          EXPECT_LE(relative_difference(found.logits[row], logits[b]), 1e-5);
        }
      }
    }
  }
}

TEST(Classifier, TeacherIsSoftmaxWhateverIsInstalled) {
  const at::NoGradGuard no_gradients;
  for (auto& family : families()) {
    SCOPED_TRACE(family.name);
    const auto model = make_classifier(family.config, 3);
    perturb(*model);
    const auto inputs = [&] {
      std::vector<at::Tensor> found;
      model->visit_teacher(family.input, [&](std::int64_t layer, const AttentionInput& input) {
        EXPECT_EQ(layer, std::ssize(found));
        found.push_back(input.q.clone());
      });
      return found;
    };
    const auto before = inputs();
    const auto softmax = model->forward(family.input);
    ASSERT_EQ(before.size(), 2u);
    model->set_attention({.kind = AttentionKind::kLinear});
    EXPECT_GT(relative_difference(model->forward(family.input), softmax), 1e-4);
    EXPECT_TRUE(at::equal(inputs()[1], before[1]));
  }
}

TEST(Classifier, PaddingChangesNothing) {
  const at::NoGradGuard no_gradients;
  for (auto& family : families()) {
    if (!family.input.tokens.defined()) continue;
    for (const bool converted : {false, true}) {
      SCOPED_TRACE(std::string(family.name) + (converted ? ", converted" : ""));
      const auto model = make_classifier(family.config, 3);
      if (converted) model->set_attention({.kind = AttentionKind::kLinear});
      perturb(*model);
      ClassifierInput alone;
      alone.tokens = family.input.tokens.narrow(0, 1, 1).narrow(1, 0, 5);
      if (family.input.token_types.defined()) alone.token_types = family.input.token_types.narrow(0, 1, 1).narrow(1, 0, 5);
      EXPECT_LE(relative_difference(model->forward(alone)[0], model->forward(family.input)[1]), 1e-5);
    }
  }
}

// Passes in bf16 over weights that stay fp32: rounding is all that differs, in the logits and in the gradients.
TEST(Classifier, MixedPrecisionIsNearAndLeavesTheWeights) {
  for (auto& family : families()) {
    for (const bool converted : {false, true}) {
      SCOPED_TRACE(std::string(family.name) + (converted ? ", converted" : ""));
      const auto model = make_classifier(family.config, 3);
      if (converted) model->set_attention({.kind = AttentionKind::kLinear});
      {
        const at::NoGradGuard no_gradients;
        perturb(*model);
      }
      const auto pass = [&](std::optional<at::ScalarType> dtype) {
        std::vector<at::Tensor> found;
        model->set_compute_dtype(dtype);
        for (const auto& [name, tensor] : all_weights(*model)) {
          tensor->set_requires_grad(true);
          tensor->mutable_grad() = at::Tensor();
        }
        const at::Tensor logits = model->forward(family.input, [&](std::int64_t, const AttentionInput& input) {
          EXPECT_EQ(input.q.scalar_type(), dtype.value_or(at::kFloat));
        });
        logits.to(at::kFloat).square().sum().backward();
        found.push_back(logits.detach().to(at::kFloat));
        for (const auto& [name, tensor] : all_weights(*model)) {
          EXPECT_EQ(tensor->scalar_type(), at::kFloat) << name;
          if (tensor->grad().defined()) {
            EXPECT_EQ(tensor->grad().scalar_type(), at::kFloat) << name;
            found.push_back(tensor->grad().flatten());
          }
        }
        return found;
      };
      const auto single = pass({}), mixed = pass(at::kBFloat16);
      EXPECT_FALSE(at::equal(mixed[0], single[0]));
      EXPECT_LE(relative_difference(mixed[0], single[0]), 0.05);
      ASSERT_EQ(mixed.size(), single.size());
      const auto gradients = [](const std::vector<at::Tensor>& found) { return at::cat(at::TensorList(found).slice(1)); };
      EXPECT_LE(relative_difference(gradients(mixed), gradients(single)), 0.1);
      EXPECT_TRUE(at::equal(pass({})[0], single[0])) << "unset again";
    }
  }
}

TEST(Classifier, ANewTaskGetsANewHead) {
  const auto family = families()[0];
  const auto model = make_classifier(family.config, 3);
  const testing::TemporaryFolder folder;
  write_classifier(folder.path() / "model", *model, nullptr);
  const Checkpoint checkpoint = open_checkpoint(folder.path() / "model");
  EXPECT_EQ(load_classifier(checkpoint, 3, 0)->labels(), 3);
  const auto resized = load_classifier(checkpoint, 5, 1);
  EXPECT_EQ(resized->labels(), 5);
  EXPECT_EQ(resized->config()["num_labels"], 5);
  EXPECT_EQ(resized->forward(family.input).size(1), 5);
}

TEST(Classifier, WhatItCannotReadIsAnError) {
  const auto all = families();
  EXPECT_THROW(make_classifier(all[0].config, 1)->forward(all[1].input), Error);
  EXPECT_THROW(make_classifier(all[1].config, 1)->forward(all[0].input), Error);
  EXPECT_THROW(make_classifier({{"model_type", "t5"}}, 1), Error);
  EXPECT_THROW(make_classifier(json::object(), 1), Error);
}

}  // namespace
}  // namespace hedgehog

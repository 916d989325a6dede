// Classifiers learn, their maps imitate softmax, and a stopped stage goes on where it was.
#include "hedgehog/training/classification.h"

#include "hedgehog/base/error.h"
#include "tests/training/patterned_corpus.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace hedgehog {
namespace {

class Classification : public testing::OneThread {};

// The class is which of two tokens comes more often; texts of different lengths.
TokenExamples counting_examples(std::int64_t count, std::uint64_t seed) {
  TokenExamples examples(/*classes=*/true, 0);
  Random random{seed, 0};
  for (std::int64_t i = 0; i < count; ++i) {
    std::vector<std::int32_t> tokens{3};
    std::int64_t ones = 0;
    const auto length = 2 * random.below(6) + 3;
    for (std::uint64_t n = 0; n < length; ++n) {
      tokens.push_back(static_cast<std::int32_t>(1 + random.below(2)));
      ones += tokens.back() == 1;
    }
    examples.add(tokens, {}, 2 * ones > static_cast<std::int64_t>(length));
  }
  return examples;
}

std::unique_ptr<Classifier> counting_model(std::uint64_t seed = 1) {
  return make_classifier({{"model_type", "bert"},
                          {"vocab_size", 4},
                          {"max_position_embeddings", 16},
                          {"hidden_size", 32},
                          {"num_hidden_layers", 2},
                          {"num_attention_heads", 2},
                          {"intermediate_size", 64},
                          {"num_labels", 2},
                          {"initializer_range", 0.2}},
                         seed);
}

// The same without dropout.
std::unique_ptr<Classifier> steady_model(std::int64_t labels) {
  nlohmann::json config = counting_model()->config();
  config.update({{"num_labels", labels}, {"hidden_dropout_prob", 0}, {"attention_probs_dropout_prob", 0}});
  return make_classifier(config, 1);
}

ClassificationConfig quick(double epochs) {
  return {.epochs = epochs, .batch = 16, .learning_rate = 3e-3, .map_learning_rate = 3e-3};
}

at::Tensor predict_all(const Classifier& model, const Examples& examples) {
  Progress silent;
  return predict(model, examples, 50, silent);
}

double accuracy_on(const Classifier& model, const Examples& examples) {
  const auto labels = examples.labels();
  const auto wanted = at::tensor(std::vector<std::int64_t>(labels.begin(), labels.end()), at::kLong);
  return predict_all(model, examples).argmax(-1).eq(wanted).to(at::kDouble).mean().item<double>();
}

void run(Stage& stage, std::int64_t first, std::int64_t end) {
  for (std::int64_t i = first; i < end; ++i) stage.step(i);
}

TEST_F(Classification, LearnsWithSoftmaxAndWithLinearAttention) {
  const auto training = counting_examples(400, 1), held_out = counting_examples(200, 2);
  for (const char* map : {"", "hedgehog-softmax", "elu"}) {
    const auto model = counting_model();
    if (*map != '\0') model->set_attention({.kind = AttentionKind::kLinear, .feature_map = map});
    const double before = accuracy_on(*model, held_out);
    ClassificationStage stage(*model, training, quick(6), "training", 3);
    EXPECT_EQ(stage.steps(), 150);
    run(stage, 0, stage.steps());
    EXPECT_GE(accuracy_on(*model, held_out), 0.95) << map;
    EXPECT_LE(before, 0.9) << map;
    EXPECT_LE(stage.report()["loss"].get<double>(), 0.2) << map;
  }
}

TEST_F(Classification, LearnsInMixedPrecisionAndLeavesFp32Behind) {
  const auto training = counting_examples(400, 1), held_out = counting_examples(200, 2);
  const auto model = counting_model();
  ClassificationConfig config = quick(6);
  config.dtype = at::kBFloat16;
  ClassificationStage softmax(*model, training, config, "training", 3);
  run(softmax, 0, softmax.steps());
  EXPECT_GE(accuracy_on(*model, held_out), 0.95);
  model->set_attention({.kind = AttentionKind::kLinear});
  const auto distilled = classifier_distillation(*model, training, 2, {.batch = 20, .learning_rate = 2e-2}, 5, at::kBFloat16);
  const double unlike = distilled->step(0).kl;
  run(*distilled, 1, distilled->steps());
  EXPECT_LE(distilled->report()["kl"].get<double>(), 0.7 * unlike);
  model->set_attention({.kind = AttentionKind::kLinear, .feature_map = "elu"});
  config.teacher_factor = 1;
  config.hidden_factor = 10;
  ClassificationStage taught(*model, training, config, "training", 3);
  const double first = taught.step(0).details["hidden_error"].get<double>();
  run(taught, 1, taught.steps());
  EXPECT_LE(taught.report()["hidden_error"].get<double>(), 0.7 * first);
  const at::NoGradGuard no_gradients;
  model->forward(training.batch(std::vector<std::int64_t>{0}).input, [](std::int64_t, const AttentionInput& input) {
    EXPECT_EQ(input.q.scalar_type(), at::kFloat) << "between steps";
  });
  for (const auto& [name, tensor] : all_weights(*model)) EXPECT_EQ(tensor->scalar_type(), at::kFloat) << name;
}

TEST_F(Classification, ARegressionLowersTheSquaredError) {
  TokenExamples examples(/*classes=*/false, 0);
  Random random{7, 0};
  for (int i = 0; i < 200; ++i) {
    const auto token = static_cast<std::int32_t>(random.below(3));
    examples.add(std::vector<std::int32_t>{3, token, token}, {}, 2.0 * token);
  }
  const auto model = make_classifier({{"model_type", "bert"},
                                      {"vocab_size", 4},
                                      {"max_position_embeddings", 16},
                                      {"hidden_size", 16},
                                      {"num_hidden_layers", 1},
                                      {"num_attention_heads", 2},
                                      {"intermediate_size", 32},
                                      {"num_labels", 1}},
                                     1);
  ClassificationStage stage(*model, examples, quick(40), "training", 3);
  run(stage, 0, stage.steps());
  Progress silent;
  const auto labels = examples.labels();
  const auto error =
      (predict(*model, examples, 64, silent).squeeze(-1) - at::tensor(labels, at::kDouble)).square().mean().item<double>();
  EXPECT_LE(error, 0.05);
}

TEST_F(Classification, DistillationBringsTheMapsToSoftmax) {
  const auto examples = counting_examples(200, 1);
  const auto model = counting_model();
  ClassificationStage softmax(*model, examples, quick(3), "training", 3);
  run(softmax, 0, softmax.steps());
  for (const char* map : {"hedgehog-softmax", "hedgehog-exp", "t2r"}) {
    model->set_attention({.kind = AttentionKind::kLinear, .feature_map = map});
    const auto stage = classifier_distillation(*model, examples, 4, {.batch = 20, .learning_rate = 2e-2}, 5);
    const double first = stage->step(0).kl;
    run(*stage, 1, stage->steps());
    EXPECT_LE(stage->report()["kl"].get<double>(), 0.7 * first) << map;
  }
  model->set_attention({.kind = AttentionKind::kLinear, .feature_map = "elu"});
  EXPECT_THROW(classifier_distillation(*model, examples, 1, {.batch = 20}, 5), Error) << "nothing can learn";
}

TEST_F(Classification, AStoppedStageGoesOnWhereItWas) {
  const auto examples = counting_examples(60, 1);
  const auto finished = [&](std::int64_t stop) {
    const auto model = counting_model();
    auto stage = std::make_unique<ClassificationStage>(*model, examples, quick(2), "training", 3);
    run(*stage, 0, stop);
    NamedTensors kept;
    for (const auto& [name, tensor] : stage->optimizer().state()) kept.emplace_back(name, tensor.clone());
    const auto position = stage->position();
    stage.reset();  // it takes the gradients off the weights
    stage = std::make_unique<ClassificationStage>(*model, examples, quick(2), "training", 3);
    struct Source : TensorSource {
      NamedTensors held;
      std::vector<TensorInfo> infos;
      const std::vector<TensorInfo>& tensors() const override { return infos; }
      bool contains(const std::string& name) const override {
        return std::any_of(held.begin(), held.end(), [&](const auto& item) { return item.first == name; });
      }
      at::Tensor load(const std::string& name) const override {
        for (const auto& [key, tensor] : held) {
          if (key == name) return tensor.clone();
        }
        fail("no tensor {}", name);
      }
      std::string origin() const override { return "kept"; }
    } source;
    source.held = kept;
    stage->optimizer().restore(source);
    stage->set_position(position);
    run(*stage, stop, stage->steps());
    std::vector<at::Tensor> weights;
    for (const auto& [name, tensor] : stage->weights()) weights.push_back(tensor->detach().clone());
    return weights;
  };
  const auto early = finished(1), late = finished(6);
  for (std::size_t n = 0; n < early.size(); ++n) EXPECT_TRUE(at::equal(early[n], late[n])) << n;
}

TEST_F(Classification, TheSoftmaxModelTeachesHiddenStatesAndLogits) {
  const auto examples = counting_examples(200, 1);
  const auto model = counting_model();
  ClassificationStage softmax(*model, examples, quick(3), "training", 3);
  run(softmax, 0, softmax.steps());
  const auto teacher = model->teacher();
  model->set_attention({.kind = AttentionKind::kLinear, .feature_map = "elu"});
  ClassificationConfig config = quick(4);
  config.teacher_factor = 1;
  config.hidden_factor = 10;

  // Error and loss of the first step with padding, by hand.
  ExampleOrder order(examples.lengths(), config.batch, 3);
  std::int64_t padded = 0;
  while (!examples.batch(order.rows(padded)).input.key_count.defined()) ++padded;
  const ExampleBatch batch = examples.batch(order.rows(padded));
  const auto see = [&](const Classifier& which, std::vector<at::Tensor>& seen) {
    return which
        .forward(batch.input, [&](std::int64_t, const AttentionInput& input) { seen.push_back(input.x.to(at::kDouble)); })
        .to(at::kDouble);
  };
  std::vector<at::Tensor> student_hidden, teacher_hidden;
  const at::Tensor student_logits = see(*model, student_hidden), teacher_logits = see(*teacher, teacher_hidden);
  double difference = 0, norm = 0;
  for (std::int64_t text = 0; text < batch.input.tokens.size(0); ++text) {
    const auto tokens = batch.input.key_count[text].item<std::int64_t>();
    const at::Tensor x = student_hidden[1][text].slice(0, 0, tokens), y = teacher_hidden[1][text].slice(0, 0, tokens);
    difference += (x - y).square().sum().item<double>();
    norm += y.square().sum().item<double>();
  }
  const double divergence = (teacher_logits.softmax(-1) * (teacher_logits.log_softmax(-1) - student_logits.log_softmax(-1)))
                                .sum(-1)
                                .mean()
                                .item<double>();

  ClassificationStage stage(*model, examples, config, "training", 3);
  const StepResult first = stage.step(padded);
  EXPECT_GE(difference / norm, 1e-3);
  EXPECT_NEAR(first.details["hidden_error"].get<double>(), difference / norm, 1e-5);
  EXPECT_NEAR(first.loss, divergence + 10 * difference / norm, 1e-4);
  run(stage, padded + 1, stage.steps());
  EXPECT_LE(stage.report()["hidden_error"].get<double>(), 0.5 * difference / norm);
  EXPECT_LE((predict_all(*model, examples) - predict_all(*teacher, examples)).square().mean().item<double>(),
            0.5 * (student_logits - teacher_logits).square().mean().item<double>());
}

TEST_F(Classification, WhatHasNoLabelIsTaughtByTheSoftmaxModelAlone) {
  for (const bool classes : {true, false}) {
    TokenExamples examples(classes, 0);
    for (const double label : {1.0, kNoLabel, 0.0, kNoLabel}) {
      examples.add(std::vector<std::int32_t>{3, 1, 2, label == 1 ? 1 : 2}, {}, label);
    }
    const auto model = steady_model(classes ? 2 : 1);
    const auto teacher = model->teacher();
    model->set_attention({.kind = AttentionKind::kLinear, .feature_map = "elu"});
    const ExampleBatch batch = examples.batch(std::vector<std::int64_t>{0, 1, 2, 3});
    const at::Tensor logits = model->forward(batch.input), taught = teacher->forward(batch.input);
    const at::Tensor labelled = logits.index_select(0, at::tensor({0, 2}, at::kLong));
    const double by_labels = classes ? -(labelled.log_softmax(-1)[0][1] + labelled.log_softmax(-1)[1][0]).item<double>() / 2
                                     : ((labelled[0] - 1).square() + labelled[1].square()).item<double>() / 2;
    const double by_teacher = teacher_loss(logits, taught, classes).item<double>();
    ClassificationConfig half = quick(1);
    half.teacher_factor = 0.25;
    const StepResult result = ClassificationStage(*model, examples, half, "training", 3).step(0);
    EXPECT_NEAR(result.loss, 0.75 * by_labels + 0.25 * by_teacher, 1e-5);
    if (classes) {
      const double right = labelled.argmax(-1).eq(at::tensor({1, 0}, at::kLong)).to(at::kDouble).mean().item<double>();
      EXPECT_EQ(result.details["accuracy"].get<double>(), right);
    }
    EXPECT_THROW(ClassificationStage(*model, examples, quick(1), "training", 3), Error) << "no teacher";
  }
}

TEST_F(Classification, WithoutALabelInABatchThereIsNoLabelsLoss) {
  TokenExamples examples(/*classes=*/true, 0);
  examples.add(std::vector<std::int32_t>{3, 1, 2}, {}, kNoLabel);
  const auto model = steady_model(2);
  ClassificationConfig half = quick(1);
  half.teacher_factor = 0.5;
  EXPECT_NEAR(ClassificationStage(*model, examples, half, "training", 3).step(0).loss, 0, 1e-6) << "it is its own teacher";
}

TEST_F(Classification, LabelsThatTheModelDoesNotHaveAreAnError) {
  TokenExamples examples(true, 0);
  examples.add(std::vector<std::int32_t>{1}, {}, 2);
  const auto model = counting_model();
  EXPECT_THROW(ClassificationStage(*model, examples, quick(1), "training", 3), Error);
}

}  // namespace
}  // namespace hedgehog

// What distillation and finetuning change, and that they lower what they should.
#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"
#include "hedgehog/data/batch_sampler.h"
#include "hedgehog/data/packing.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/training/conversion.h"
#include "tests/inference/tiny_model.h"
#include "tests/training/patterned_corpus.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>

namespace hedgehog {
namespace {

using testing::tiny_model;

using testing::patterned_corpus;

class Distillation : public testing::OneThread {};
class Finetuning : public testing::OneThread {};
class Conversion : public testing::OneThread {};

AttentionConfig linear(bool gate = false) {
  AttentionConfig config;
  config.kind = AttentionKind::kLinear;
  config.gate = gate;
  return config;
}

std::map<std::string, at::Tensor> snapshot(Decoder& model) {
  std::map<std::string, at::Tensor> result;
  for (const auto& [name, tensor] : adapter_tensors(model, true)) result[name] = tensor->detach().clone();
  return result;
}

/// Names of what differs from `before`, new ones too.
std::vector<std::string> changed(Decoder& model, const std::map<std::string, at::Tensor>& before) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : adapter_tensors(model, true)) {
    if (!before.contains(name) || !at::equal(before.at(name), tensor->detach())) names.push_back(name);
  }
  return names;
}

StepResult run(Stage& stage) {
  StepResult result;
  for (std::int64_t i = 0; i < stage.steps(); ++i) result = stage.step(i);
  return result;
}

DistillationConfig distillation(std::int64_t steps) {
  DistillationConfig config;
  config.length = 48;
  config.batch = 2;
  config.tokens = steps * 96;
  config.learning_rate = 2e-2;
  return config;
}

FinetuningConfig finetuning(std::int64_t steps) {
  FinetuningConfig config;
  config.length = 48;
  config.batch = 4;
  config.tokens = steps * 192;
  config.learning_rate = 1e-2;
  config.lora_rank = 4;
  return config;
}

TEST_F(Distillation, LowersTheDivergenceAndTouchesOnlyTheMaps) {
  const Corpus text = patterned_corpus(80);
  Decoder model = tiny_model(linear(true), 0.8);
  Progress silent;
  const auto before = snapshot(model);
  const double kl_before = mean_over_layers(model, distillation_losses(model, text, 8, 48, silent)).kl;
  DistillationStage stage(model, text, distillation(60), "distillation 1", 1);
  run(stage);
  const double kl_after = mean_over_layers(model, distillation_losses(model, text, 8, 48, silent)).kl;
  EXPECT_LT(kl_after, 0.8 * kl_before);
  const std::vector<std::string> names = changed(model, before);
  EXPECT_FALSE(names.empty());
  for (const std::string& name : names) EXPECT_NE(name.find(".attention."), std::string::npos) << name;
  EXPECT_EQ(stage.report().at("layers").size(), 2u);
  EXPECT_NEAR(stage.report().at("kl").get<double>(), kl_after, 0.5 * kl_after);
}

// One batch, two steps: the first on its even rows, the second on its odd ones.
TEST_F(Distillation, UpdatesShareTheRowsOfABatch) {
  const Corpus text = patterned_corpus(80);
  Decoder model = tiny_model(linear(), 0.8), by_hand = tiny_model(linear(), 0.8);
  DistillationConfig config = distillation(3);
  config.updates = 2;
  config.schedule = Schedule::kConstant;
  DistillationStage stage(model, text, config, "distillation 1", 1);
  ASSERT_EQ(stage.steps(), 6);
  std::vector<StepResult> found;
  for (std::int64_t i = 0; i < 2; ++i) found.push_back(stage.step(i));
  EXPECT_EQ(found[0].tokens + found[1].tokens, 96);

  BatchSampler sampler(text, config.batch, config.length, 1);
  const Batch batch = sampler.next();
  NamedParameters parameters;
  for (DecoderLayer& layer : by_hand.layers()) {
    for (auto& [name, tensor] : layer.attention.parameters()) {
      tensor->set_requires_grad(true);
      parameters.emplace_back(name, tensor);
    }
  }
  AdamW optimizer(0.8, 0.95);
  optimizer.add(parameters, config.learning_rate, 0);
  for (std::int64_t part = 0; part < 2; ++part) {
    double cross_entropy = 0;
    by_hand.forward_visiting(batch.tokens, batch.segment_start, true, [&](std::int64_t layer, const AttentionInput& input) {
      Attention& attention = by_hand.layers()[static_cast<std::size_t>(layer)].attention;
      cross_entropy += attention.distill(input, 1, 0, 1, 0, {.first = part, .step = 2}).cross_entropy / 2;
    });
    EXPECT_NEAR(found[static_cast<std::size_t>(part)].loss, cross_entropy, 1e-6);
    optimizer.step(1, 0);
  }
  auto a = model.layers()[1].attention.parameters(), b = by_hand.layers()[1].attention.parameters();
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::allclose(*a[i].second, *b[i].second, 1e-5, 1e-6)) << a[i].first;
}

TEST_F(Distillation, MoreUpdatesThanRows) {
  const Corpus text = patterned_corpus(80);
  Decoder model = tiny_model(linear(), 0.8);
  DistillationConfig config = distillation(1);
  config.length = 5;
  config.tokens = 10;
  config.updates = 7;
  DistillationStage stage(model, text, config, "distillation 1", 1);
  EXPECT_EQ(stage.steps(), 7);
  run(stage);
  EXPECT_GT(stage.report().at("kl").get<double>(), 0);
}

TEST_F(Distillation, OutputsAreLearntToo) {
  const Corpus text = patterned_corpus(80);
  Decoder model = tiny_model(linear(), 0.8);
  Progress silent;
  DistillationConfig config = distillation(60);
  config.weights_factor = 0;
  config.output_factor = 1;
  const double before = mean_over_layers(model, distillation_losses(model, text, 8, 48, silent)).output_error;
  DistillationStage stage(model, text, config, "distillation 2", 1);
  run(stage);
  EXPECT_LT(mean_over_layers(model, distillation_losses(model, text, 8, 48, silent)).output_error, 0.9 * before);
}

TEST_F(Distillation, LayersAreIndependent) {
  const Corpus text = patterned_corpus(80);
  Decoder both = tiny_model(linear()), one = tiny_model(linear());
  one.layers()[0].attention = tiny_model().layers()[0].attention;  // softmax stays there
  for (Decoder* model : {&both, &one}) {
    DistillationStage stage(*model, text, distillation(5), "distillation 1", 1);
    run(stage);
  }
  auto a = both.layers()[1].attention.parameters(), b = one.layers()[1].attention.parameters();
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(*a[i].second, *b[i].second)) << a[i].first;
}

TEST_F(Distillation, SoftmaxHasNothingToLearn) {
  const Corpus text = patterned_corpus(80);
  Decoder model = tiny_model();
  EXPECT_THROW(DistillationStage(model, text, distillation(5), "distillation 1", 1), Error);
}

TEST_F(Finetuning, LoraLowersTheLossOfSoftmaxAndLinearAlike) {
  const Corpus text = patterned_corpus(120);
  for (const AttentionConfig& attention : {AttentionConfig{}, linear()}) {
    Decoder model = tiny_model(attention);
    const auto before = snapshot(model);
    FinetuningConfig config = finetuning(40);
    config.lora_targets = {"q", "v", "down"};
    FinetuningStage stage(model, text, config, 1);
    const double first = stage.step(0).loss;
    double last = first;
    for (std::int64_t i = 1; i < stage.steps(); ++i) last = stage.step(i).loss;
    EXPECT_LT(last, 0.9 * first);
    for (const std::string& name : changed(model, before)) {
      EXPECT_NE(name.find(".lora_"), std::string::npos) << name;
      EXPECT_TRUE(name.find(".q.") != std::string::npos || name.find(".v.") != std::string::npos ||
                  name.find(".down.") != std::string::npos)
          << name;
    }
  }
}

TEST_F(Finetuning, TheMapsMoveOnlyWithALearningRate) {
  const Corpus text = patterned_corpus(120);
  for (const double rate : {0.0, 1e-3}) {
    Decoder model = tiny_model(linear());
    const auto before = snapshot(model);
    FinetuningConfig config = finetuning(3);
    config.map_learning_rate = rate;
    FinetuningStage stage(model, text, config, 1);
    run(stage);
    bool moved = false;
    for (const std::string& name : changed(model, before)) moved |= name.find("_map.weight") != std::string::npos;
    EXPECT_EQ(moved, rate > 0);
  }
}

TEST_F(Finetuning, AllWeightsAgainstAFrozenTeacher) {
  const Corpus text = patterned_corpus(120);
  Decoder model = tiny_model(linear());
  const auto before = snapshot(model);
  FinetuningConfig config = finetuning(40);
  config.kind = FinetuningKind::kFull;
  config.learning_rate = 3e-3;
  config.map_learning_rate = 3e-3;
  config.teacher_factor = 1;
  double first = 0, last = 0;
  {
    FinetuningStage stage(model, text, config, 1);
    first = stage.step(0).kl;
    for (std::int64_t i = 1; i < stage.steps(); ++i) last = stage.step(i).kl;
  }
  EXPECT_GT(first, 0);
  EXPECT_LT(last, 0.7 * first);
  EXPECT_EQ(changed(model, before).size(), before.size());
  for (const auto& [name, tensor] : model.weights()) EXPECT_FALSE(tensor->requires_grad()) << name;
  // The teacher stood still: against the model as it was, the divergence that the last step saw can be had again only so.
  Decoder untouched = tiny_model();
  for (const auto& [name, tensor] : untouched.weights()) EXPECT_TRUE(at::equal(*tensor, before.at(name))) << name;
}

TEST_F(Finetuning, TheUntrainedSoftmaxModelIsItsOwnTeacher) {
  const Corpus text = patterned_corpus(120);
  for (const FinetuningKind kind : {FinetuningKind::kLora, FinetuningKind::kFull}) {
    Decoder model = tiny_model();
    FinetuningConfig config = finetuning(2);
    config.kind = kind;
    config.teacher_factor = 0.5;
    config.hidden_factor = 1;
    FinetuningStage stage(model, text, config, 1);
    const StepResult first = stage.step(0);
    EXPECT_NEAR(first.kl, 0, 1e-6);
    EXPECT_NEAR(first.details["hidden_error"].get<double>(), 0, 1e-8);
    EXPECT_GT(stage.step(1).kl, 1e-6);  // the teacher did not move along
  }
}

TEST_F(Finetuning, HiddenStatesComeNearerToTheTeachers) {
  const Corpus text = patterned_corpus(120);
  Decoder model = tiny_model(linear());
  FinetuningConfig config = finetuning(40);
  config.kind = FinetuningKind::kFull;
  config.learning_rate = 3e-3;
  config.map_learning_rate = 3e-3;
  config.hidden_factor = 10;
  FinetuningStage stage(model, text, config, 1);
  const StepResult first = stage.step(0);
  const double before = first.details["hidden_error"].get<double>();
  EXPECT_GT(before, 1e-4);
  EXPECT_NEAR(first.loss, first.details["cross_entropy"].get<double>() + 10 * before, 1e-4 * first.loss);
  for (std::int64_t i = 1; i < stage.steps(); ++i) stage.step(i);
  EXPECT_LT(stage.report()["hidden_error"].get<double>(), 0.7 * before);

  config.gradient_checkpointing = true;
  EXPECT_THROW(FinetuningStage(model, text, config, 1), Error);
}

TEST_F(Finetuning, AccumulationEqualsABigBatch) {
  const Corpus text = patterned_corpus(120);  // short documents: batches differ in their number of targets
  std::vector<NamedTensors> moments;
  std::vector<StepResult> results;
  for (const std::int64_t accumulate : {1, 2, 4}) {
    Decoder model = tiny_model(linear());
    FinetuningConfig config = finetuning(1);
    config.accumulate = accumulate;
    config.batch = 4 / accumulate;
    config.map_learning_rate = 1e-3;
    config.teacher_factor = 0.25;
    FinetuningStage stage(model, text, config, 1);
    results.push_back(stage.step(0));
    moments.emplace_back();
    for (const auto& [name, tensor] : stage.optimizer().state()) moments.back().emplace_back(name, tensor.clone());
  }
  for (std::size_t i = 1; i < results.size(); ++i) {
    EXPECT_NEAR(results[i].loss, results[0].loss, 1e-5 * results[0].loss);
    EXPECT_EQ(results[i].tokens, results[0].tokens);
    ASSERT_EQ(moments[i].size(), moments[0].size());
    for (std::size_t j = 0; j < moments[i].size(); ++j) {
      const auto& [name, expected] = moments[0][j];
      if (!name.ends_with(".exp_avg")) continue;
      const double scale = expected.abs().max().item<double>() + 1e-12;
      EXPECT_LT((moments[i][j].second - expected).abs().max().item<double>(), 1e-4 * scale) << name;
    }
  }
}

TEST_F(Finetuning, OnlyScoredTokensCount) {
  Corpus text;
  Random random{9};
  for (int i = 0; i < 9; ++i) {
    std::vector<std::int32_t> document(8 + random.below(40));
    for (std::int32_t& token : document) token = static_cast<std::int32_t>(random.below(250));
    append_document(text, document);
    for (std::size_t t = 0; t < document.size(); ++t) text.scored.push_back(t + 5 >= document.size());
  }
  seal(text);
  for (const AttentionConfig& attention : {AttentionConfig{}, linear()}) {
    Decoder model = tiny_model(attention);
    double cross_entropy = 0;
    for (std::size_t i = 0; i < 9; ++i) {
      const std::int64_t begin = text.document_starts[i];
      const std::int64_t end = i + 1 < 9 ? text.document_starts[i + 1] : std::ssize(text.tokens);
      const std::vector<std::int64_t> ids(text.tokens.begin() + begin, text.tokens.begin() + end);
      const at::NoGradGuard no_gradients;
      const at::Tensor logits = model.logits(model.forward(at::tensor(ids, at::kLong).unsqueeze(0)))[0].to(at::kDouble);
      const at::Tensor log_p = at::log_softmax(logits, 1);
      for (std::int64_t t = end - begin - 5; t < end - begin; ++t) {
        cross_entropy -= log_p[t - 1][ids[static_cast<std::size_t>(t)]].item<double>() / (9 * 5);
      }
    }
    // One step over all rows: what it lowers is the mean over the last five tokens of every document.
    FinetuningConfig config = finetuning(1);
    config.batch = std::ssize(pack_rows(text, config.length));
    config.tokens = config.batch * config.length;
    FinetuningStage stage(model, text, config, 1);
    EXPECT_NEAR(stage.step(0).loss, cross_entropy, 1e-5 * cross_entropy);
  }
}

TEST_F(Finetuning, CheckpointedGradientsAreTheSame) {
  const Corpus text = patterned_corpus(120);
  std::vector<double> norms;
  for (const bool checkpointing : {false, true}) {
    Decoder model = tiny_model(linear());
    FinetuningConfig config = finetuning(1);
    config.gradient_checkpointing = checkpointing;
    FinetuningStage stage(model, text, config, 1);
    norms.push_back(stage.step(0).details.at("gradient_norm").get<double>());
  }
  EXPECT_NEAR(norms[1], norms[0], 1e-5 * norms[0]);
}

TEST_F(Conversion, TheBaselineIsTheSameFinetuningWithoutATeacher) {
  ConversionConfig config;
  config.attention = linear();
  config.distillation = {distillation(5), DistillationConfig{}};
  config.finetuning = finetuning(7);
  config.finetuning.teacher_factor = 0.5;
  const Corpus text = patterned_corpus(80);
  Decoder model = tiny_model(linear()), softmax = tiny_model();
  EXPECT_EQ(conversion_stages(model, text, config).size(), 2u);
  const ConversionConfig baseline = baseline_of(config);
  const auto stages = conversion_stages(softmax, text, baseline);
  ASSERT_EQ(stages.size(), 1u);
  EXPECT_EQ(stages[0]()->steps(), 7);
  EXPECT_EQ(baseline.finetuning.teacher_factor, 0);
  EXPECT_NE(to_json(baseline), to_json(config));
}

TEST_F(Finetuning, WhatALaterStageCannotBeginWithIsKnownAtOnce) {
  ConversionConfig config;
  config.attention = linear();
  config.distillation = {distillation(5), DistillationConfig{}};
  config.finetuning = finetuning(7);
  const Corpus text = patterned_corpus(80);
  Decoder model = tiny_model(linear());
  const auto refused = [&](const auto& change) {
    ConversionConfig changed = config;
    change(changed);
    EXPECT_THROW(conversion_stages(model, text, changed), Error);
  };
  refused([](ConversionConfig& c) { c.finetuning.lora_rank = 1000; });
  refused([](ConversionConfig& c) { c.finetuning.lora_targets = {"x"}; });
  refused([](ConversionConfig& c) { c.finetuning.length = 1 << 20; });
  refused([](ConversionConfig& c) {
    c.distillation[1] = c.distillation[0];
    c.distillation[1].weights_factor = c.distillation[1].output_factor = 0;
  });
  // LoRA that is there goes on as it is or not at all.
  model.layers()[0].q.add_lora(4, 8, 1);
  config.finetuning.lora_targets = {"q", "k"};
  config.finetuning.lora_rank = 4;
  config.finetuning.lora_alpha = 8;
  EXPECT_EQ(conversion_stages(model, text, config).size(), 2u);
  refused([](ConversionConfig& c) { c.finetuning.lora_rank = 2; });
  refused([](ConversionConfig& c) { c.finetuning.lora_alpha = 4; });
  refused([](ConversionConfig& c) { c.finetuning.lora_targets = {"k"}; });
}

}  // namespace
}  // namespace hedgehog

// The sampler against transformers' logits processors (tests/fixtures/inference/make_sampler.py), and its frequencies.
#include "hedgehog/inference/sampler.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace hedgehog {
namespace {

SamplerConfig config_of(const nlohmann::json& settings) {
  SamplerConfig config;
  config.temperature = settings.value("temperature", 1.0);
  config.top_k = settings.value("top_k", 0);
  config.top_p = settings.value("top_p", 1.0);
  config.min_p = settings.value("min_p", 0.0);
  config.repetition_penalty = settings.value("repetition_penalty", 1.0);
  return config;
}

TEST(Sampler, KeepsWhatTransformersKeeps) {
  const auto cases = nlohmann::json::parse(read_text_file(HEDGEHOG_SOURCE_DIR "/tests/fixtures/inference/sampler.json"));
  ASSERT_GE(cases.size(), 30u);
  for (const nlohmann::json& each : cases) {
    SCOPED_TRACE(each["settings"].dump());
    Sampler sampler(config_of(each["settings"]));
    auto logits = each["logits"].get<std::vector<float>>();
    const auto recent = each["recent"].get<std::vector<std::int32_t>>();
    std::map<std::int32_t, double> found;
    for (const Sampler::Candidate& candidate : sampler.distribution(logits, recent)) {
      found[candidate.token] = candidate.probability;
    }
    const auto tokens = each["tokens"].get<std::vector<std::int32_t>>();
    const auto probabilities = each["probabilities"].get<std::vector<double>>();
    ASSERT_EQ(found.size(), tokens.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      ASSERT_TRUE(found.contains(tokens[i])) << "token " << tokens[i];
      EXPECT_NEAR(found[tokens[i]], probabilities[i], 2e-6 * probabilities[i] + 1e-12) << "token " << tokens[i];
    }
  }
}

std::vector<float> random_logits(std::size_t count, double spread) {
  Random random{9, 0};
  std::vector<float> logits(count);
  for (float& value : logits) {
    value = static_cast<float>(spread * (random.uniform() + random.uniform() + random.uniform() - 1.5));
  }
  return logits;
}

// The partial selection against a full sort, on a vocabulary where several of its rounds are needed.
TEST(Sampler, TopPEqualsAFullSort) {
  for (const double spread : {0.1, 3.0, 12.0}) {
    const std::vector<float> logits = random_logits(20000, spread);
    std::vector<std::pair<double, std::int32_t>> sorted;
    double total = 0;
    const float largest = *std::max_element(logits.begin(), logits.end());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      sorted.emplace_back(-std::exp(logits[i] - largest), static_cast<std::int32_t>(i));
      total -= sorted.back().first;
    }
    std::sort(sorted.begin(), sorted.end());
    for (const double top_p : {0.01, 0.5, 0.95, 0.9999}) {
      SamplerConfig config;
      config.temperature = 1;
      config.top_p = top_p;
      Sampler sampler(config);
      std::vector<float> copy = logits;
      const auto kept = sampler.distribution(copy, {});
      std::size_t expected = 0;
      for (double mass = 0; mass < top_p * total && expected < sorted.size(); ++expected) {
        mass -= sorted[expected].first;
      }
      ASSERT_NEAR(static_cast<double>(kept.size()), static_cast<double>(expected), 1) << spread << " " << top_p;
      for (std::size_t i = 0; i < std::min(kept.size(), expected); ++i) {
        ASSERT_EQ(kept[i].token, sorted[i].second);
      }
    }
  }
}

TEST(Sampler, FrequenciesFollowTheDistribution) {
  SamplerConfig config;
  config.temperature = 0.8;
  config.top_k = 40;
  config.top_p = 0.95;
  config.repetition_penalty = 1.2;
  config.seed = 17;
  const std::vector<float> logits = random_logits(200, 4);
  const std::vector<std::int32_t> recent{3, 5, 100};
  Sampler sampler(config);
  std::vector<float> copy = logits;
  std::map<std::int32_t, double> expected;
  for (const Sampler::Candidate& candidate : sampler.distribution(copy, recent)) {
    expected[candidate.token] = candidate.probability;
  }
  ASSERT_GT(expected.size(), 10u);
  constexpr int kDraws = 100000;
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < kDraws; ++i) {
    copy = logits;
    ++counts[sampler.sample(copy, recent)];
  }
  double chi_squared = 0;
  for (const auto& [token, count] : counts) {
    ASSERT_TRUE(expected.contains(token)) << token;
  }
  for (const auto& [token, probability] : expected) {
    const double mean = kDraws * probability;
    chi_squared += (counts[token] - mean) * (counts[token] - mean) / mean;
  }
  // Mean d, deviation √(2d): four deviations above the mean; the seed makes the result one.
  const double degrees = static_cast<double>(expected.size() - 1);
  EXPECT_LT(chi_squared, degrees + 4 * std::sqrt(2 * degrees));
}

TEST(Sampler, SeedDecides) {
  SamplerConfig config;
  config.temperature = 1;
  const auto draw = [&](std::uint64_t seed) {
    config.seed = seed;
    Sampler sampler(config);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 20; ++i) {
      std::vector<float> logits(1000, 0.F);
      tokens.push_back(sampler.sample(logits, {}));
    }
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Sampler, GreedyTakesTheFirstLargest) {
  Sampler sampler({});
  std::vector<float> logits{1, 5, 5, -2};
  EXPECT_EQ(sampler.sample(logits, {}), 1);
  SamplerConfig config;
  config.repetition_penalty = 2;
  const std::vector<std::int32_t> recent{1, 1, 3, -7, 99};  // once for a token that came twice; what is no token is passed over
  EXPECT_EQ(Sampler(config).sample(logits, recent), 2);
  EXPECT_FLOAT_EQ(logits[1], 2.5F);
  EXPECT_FLOAT_EQ(logits[3], -4.F);
}

TEST(Sampler, BearsExtremes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  SamplerConfig config;
  for (const double temperature : {1e-300, 1e-30, 1.0, 1e30}) {
    for (const double top_p : {0.0, 0.5, 1.0}) {
      config.temperature = temperature;
      config.top_p = top_p;
      Sampler sampler(config);
      std::vector<float> logits{-kInfinity, 3e38F, -3e38F, -kInfinity};
      const std::int32_t token = sampler.sample(logits, {});
      EXPECT_TRUE(token == 1 || token == 2);
      std::vector<float> equal(100, 0.1F);
      EXPECT_LT(sampler.sample(equal, {}), 100);
    }
  }
  Sampler sampler({});
  std::vector<float> nan{0, std::nanf(""), 1};
  EXPECT_THROW(sampler.sample(nan, {}), Error);
  std::vector<float> nothing{-kInfinity, -kInfinity};
  EXPECT_THROW(sampler.sample(nothing, {}), Error);
}

TEST(Sampler, RefusesValuesOutOfRange) {
  const auto with = [](auto member, double value) {
    SamplerConfig config;
    config.*member = static_cast<std::remove_reference_t<decltype(config.*member)>>(value);
    return config;
  };
  EXPECT_THROW(Sampler(with(&SamplerConfig::temperature, -1)), Error);
  EXPECT_THROW(Sampler(with(&SamplerConfig::temperature, NAN)), Error);
  EXPECT_THROW(Sampler(with(&SamplerConfig::top_k, -1)), Error);
  EXPECT_THROW(Sampler(with(&SamplerConfig::top_p, 1.5)), Error);
  EXPECT_THROW(Sampler(with(&SamplerConfig::min_p, -0.1)), Error);
  EXPECT_THROW(Sampler(with(&SamplerConfig::repetition_penalty, 0)), Error);
}

}  // namespace
}  // namespace hedgehog

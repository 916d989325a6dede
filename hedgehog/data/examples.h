// Labelled examples as batches for a classifier.
#pragma once

#include "hedgehog/base/random.h"
#include "hedgehog/models/classifier.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hedgehog {

struct ExampleBatch {
  ClassifierInput input;
  at::Tensor labels;  // int64 [batch]; of a regression fp32 [batch]
};

class Examples {
 public:
  virtual ~Examples() = default;
  virtual std::int64_t size() const = 0;
  /// Texts padded at their end to the longest of them.
  virtual ExampleBatch batch(std::span<const std::int64_t> rows) const = 0;
  /// All labels, in order.
  virtual std::vector<double> labels() const = 0;
  /// Of all that is in them, for the identity of a run.
  virtual std::string sha256() const = 0;
};

/// Token sequences. `classes`: labels are the numbers of classes; else a regression's.
class TokenExamples : public Examples {
 public:
  TokenExamples(bool classes, std::int64_t padding_token) : classes_(classes), padding_token_(padding_token) {}
  /// `token_types` is empty (all 0) or as long as `tokens`.
  void add(std::span<const std::int32_t> tokens, std::span<const std::int32_t> token_types, double label);

  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  ExampleBatch batch(std::span<const std::int64_t> rows) const override;
  std::vector<double> labels() const override { return labels_; }
  std::string sha256() const override;

 private:
  bool classes_;
  std::int64_t padding_token_;
  std::vector<std::int32_t> tokens_, types_;
  std::vector<std::size_t> ends_;
  std::vector<double> labels_;
};

/// Images of one channel, bytes, given to the model as (value / 255 − mean) / deviation.
class ImageExamples : public Examples {
 public:
  ImageExamples(std::int64_t height, std::int64_t width, double mean, double deviation)
      : height_(height), width_(width), mean_(mean), deviation_(deviation) {}
  void add(std::span<const std::uint8_t> pixels, std::int64_t label);

  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  ExampleBatch batch(std::span<const std::int64_t> rows) const override;
  std::vector<double> labels() const override { return labels_; }
  std::string sha256() const override;

 private:
  std::int64_t height_, width_;
  double mean_, deviation_;
  std::vector<std::uint8_t> pixels_;
  std::vector<double> labels_;
};

/// Which examples a training step takes: all of them once an epoch, in an order shuffled by (seed, epoch). A pure function of
/// the step, so a resumed run has nothing to remember.
class ExampleOrder {
 public:
  ExampleOrder(std::int64_t examples, std::int64_t batch, std::uint64_t seed);
  std::int64_t steps_an_epoch() const;
  std::vector<std::int64_t> rows(std::int64_t step);

 private:
  std::int64_t examples_, batch_;
  std::uint64_t seed_;
  std::int64_t epoch_ = -1;
  std::vector<std::int64_t> order_;
};

}  // namespace hedgehog

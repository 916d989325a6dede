// Labelled examples as batches for a classifier.
#pragma once

#include "hedgehog/base/random.h"
#include "hedgehog/data/byte_sequence.h"
#include "hedgehog/data/gray_images.h"
#include "hedgehog/models/classifier.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

/// The label of an example that has none and is for a teacher: what cross-entropy passes over (LibTorch's ignore_index).
constexpr double kNoLabel = -100;

struct ExampleBatch {
  ClassifierInput input;
  at::Tensor labels;  // int64 [batch]; of a regression fp32 [batch]; kNoLabel where there is none
};

class Examples {
 public:
  virtual ~Examples() = default;
  virtual std::int64_t size() const = 0;
  /// Texts and sequences padded at their end to the longest of them.
  virtual ExampleBatch batch(std::span<const std::int64_t> rows) const = 0;
  /// All labels, in order.
  virtual std::vector<double> labels() const = 0;
  /// Tokens of each, in order; all alike for images.
  virtual std::vector<std::int64_t> lengths() const { return std::vector<std::int64_t>(static_cast<std::size_t>(size()), 1); }
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
  std::vector<std::int64_t> lengths() const override;
  std::string sha256() const override;

 private:
  bool classes_;
  std::int64_t padding_token_;
  std::vector<std::int32_t> tokens_, types_;
  std::vector<std::size_t> ends_;
  std::vector<double> labels_;
};

/// Byte sequences behind a token of their own, `first_token`, at whose place a classifier is read (Long Range Arena's "CLS").
class SequenceExamples : public Examples {
 public:
  /// Of each at most its first `longest` symbols.
  SequenceExamples(std::vector<ByteSequence> sequences, std::int64_t longest, std::int64_t first_token)
      : sequences_(std::move(sequences)), longest_(longest), first_token_(first_token) {}

  std::int64_t size() const override { return std::ssize(sequences_); }
  ExampleBatch batch(std::span<const std::int64_t> rows) const override;
  std::vector<double> labels() const override;
  std::vector<std::int64_t> lengths() const override;
  std::string sha256() const override;

 private:
  std::vector<ByteSequence> sequences_;
  std::int64_t longest_, first_token_;
};

/// Pairs of byte sequences. A batch has twice as many rows as examples: the first sequences, then the second ones.
class PairExamples : public Examples {
 public:
  /// Pair i is first[i] and second[i], with the first one's label; of each at most its first `longest` symbols. Throws Error
  /// unless there are as many.
  PairExamples(std::vector<ByteSequence> first, std::vector<ByteSequence> second, std::int64_t longest,
               std::int64_t first_token);

  std::int64_t size() const override { return both_.size() / 2; }
  ExampleBatch batch(std::span<const std::int64_t> rows) const override;
  std::vector<double> labels() const override;
  /// Of the longer one.
  std::vector<std::int64_t> lengths() const override;
  std::string sha256() const override { return both_.sha256(); }

 private:
  SequenceExamples both_;  // the first ones, then the second ones
};

/// What is the same however gray images are read.
class GrayImageExamples : public Examples {
 public:
  std::int64_t size() const override { return images_.count(); }
  std::vector<double> labels() const override { return {images_.labels.begin(), images_.labels.end()}; }
  std::string sha256() const override;

 protected:
  explicit GrayImageExamples(GrayImages images) : images_(std::move(images)) {}

  GrayImages images_;
};

/// Gray images as sequences of pixels behind `first_token`.
class PixelExamples : public GrayImageExamples {
 public:
  PixelExamples(GrayImages images, std::int64_t first_token)
      : GrayImageExamples(std::move(images)), first_token_(first_token) {}
  ExampleBatch batch(std::span<const std::int64_t> rows) const override;

 private:
  std::int64_t first_token_;
};

/// Gray images as such, given to the model as (value / 255 − mean) / deviation.
class ImageExamples : public GrayImageExamples {
 public:
  ImageExamples(GrayImages images, double mean, double deviation)
      : GrayImageExamples(std::move(images)), mean_(mean), deviation_(deviation) {}
  ExampleBatch batch(std::span<const std::int64_t> rows) const override;

 private:
  double mean_, deviation_;
};

/// Which examples a training step takes: all of them once an epoch, in an order shuffled by (seed, epoch). Those of a batch are
/// of like length, so that little of it is padding: of each 32 batches that the order gives, the examples are sorted by length
/// and dealt in that order, and the batches of the epoch shuffled. A pure function of the step, so a resumed run has nothing to
/// remember.
class ExampleOrder {
 public:
  ExampleOrder(std::vector<std::int64_t> lengths, std::int64_t batch, std::uint64_t seed);
  std::int64_t steps_an_epoch() const;
  std::vector<std::int64_t> rows(std::int64_t step);

 private:
  std::vector<std::int64_t> lengths_;
  std::int64_t batch_;
  std::uint64_t seed_;
  std::int64_t epoch_ = -1;
  std::vector<std::vector<std::int64_t>> batches_;  // of epoch_
};

}  // namespace hedgehog

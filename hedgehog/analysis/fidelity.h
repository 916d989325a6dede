// Per layer and head: how a converted attention differs from softmax on the same q, k, v (the properties of the paper's section
// 3).
#pragma once

#include "hedgehog/analysis/head_fidelity.h"
#include "hedgehog/base/progress.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/data/examples.h"
#include "hedgehog/models/decoder.h"

#include <cstdint>
#include <vector>

namespace hedgehog {

/// Teacher-forced: each head gets the q, k, v that the model with softmax attention gives it. Over the corpus's first
/// `sequences` windows of `length` tokens; up to 128 query rows of each are looked at, spread evenly, and 16 of these are
/// ranked. In order of layer, then head. Throws Error for a corpus of fewer than two tokens.
std::vector<HeadFidelity> fidelity(const Decoder& model, const Corpus& corpus, std::int64_t sequences, std::int64_t length,
                                   Progress& progress);

/// The same of a classifier on its first `examples` examples, `batch` at a time.
std::vector<HeadFidelity> fidelity(Classifier& model, const Examples& examples, std::int64_t count, std::int64_t batch,
                                   Progress& progress);

}  // namespace hedgehog

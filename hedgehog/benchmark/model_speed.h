// A whole model's speed: reading a prompt and writing after it, in softmax and in the converted form, as `generate` does both.
#pragma once

#include "hedgehog/benchmark/measure.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <vector>

namespace hedgehog {

/// The model with its own attention if that has a linear part, with untrained linear attention otherwise: an attention's speed
/// does not depend on its weights' values. Shares the model's weights.
Decoder linear_form(const Decoder& model);

/// "prefill": the whole prompt of `length` random tokens until the first token is chosen, memory: what it took beyond the
/// weights. "generate": one token after it, memory: the state. Own is `linear`, the opponent "softmax" is `softmax`, left out
/// where `limit` says so. Best of `config.rounds`. Throws Interrupted when a signal has come.
std::vector<MeasuredCase> measure_model(const Decoder& linear, const Decoder& softmax, const Tokenizer& tokenizer,
                                        std::int64_t length, const MeasureConfig& config, double product_rate,
                                        CallLimit& limit);

}  // namespace hedgehog

// Text that the teacher itself writes: a corpus for conversion when no data is given. Sampled in batches with a key/value
// cache.
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace hedgehog {

struct SelfTextConfig {
  std::int64_t tokens = 65536;  // in all
  std::int64_t length = 512;    // of one document, unless the model ends it earlier
  std::int64_t batch = 64;      // documents written at a time
  double temperature = 1.0;
  double top_p = 0.95;
  std::uint64_t seed = 0;
};

/// The corpus for (model, config), from `cache` (a folder, made if missing) if it holds one under the model's sha256 and the
/// config. The same arguments give the same corpus. Written atomically. Softmax attention without LoRA writes, whatever `model`
/// has installed. Each document starts from "<|endoftext|>", or else the tokenizer's begin or end token, which is not part of
/// it unless the tokenizer begins every text with it. Throws Error if the model ends every document at once, Interrupted on
/// Ctrl-C: the batches that were done by then are kept, and the next call goes on from them.
Corpus self_text(const Decoder& model, const Tokenizer& tokenizer, const std::string& model_sha256,
                 const SelfTextConfig& config, const std::filesystem::path& cache, Progress& progress);

}  // namespace hedgehog

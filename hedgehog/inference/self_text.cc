// Documents of a batch are in step: one GEMM of [batch, hidden] a token. A document that has ended leaves the batch, and the
// next batch starts when all have, so that what is written depends on (model, config) alone.
#include "hedgehog/inference/self_text.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/inference/sampler.h"
#include "hedgehog/inference/self_text_cache.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

namespace hedgehog {
namespace {

struct Borders {
  std::int32_t start = 0;           // what a document is written after
  bool keep_start = false;          // the tokenizer begins every text with it
  std::vector<std::int32_t> end;    // what ends it
  std::vector<std::int32_t> never;  // what plain text has none of: a begin token that is not `start`, such as "<|im_start|>"
};

Borders borders(const Tokenizer& tokenizer) {
  Borders result;
  result.end = tokenizer.end_tokens();
  const std::optional<std::int32_t> begin = tokenizer.begin_token();
  if (const std::optional<std::int32_t> end_of_text = tokenizer.token_to_id("<|endoftext|>")) {
    result.start = *end_of_text;
  } else if (begin) {
    result.start = *begin;
  } else {
    check(!result.end.empty(), "writing text: the tokenizer names no token that a text can begin with");
    result.start = result.end.front();
  }
  result.end.push_back(result.start);
  if (begin && *begin != result.start) {
    result.never.push_back(*begin);
  }
  const std::vector<std::int32_t> probe = tokenizer.encode("a", /*add_special=*/true);
  result.keep_start = probe.size() > 1 && probe.front() == result.start;
  return result;
}

// The rows `kept` of every tensor of the states.
void keep_rows(std::vector<AttentionState>& states, const at::Tensor& kept) {
  for (AttentionState& state : states) {
    for (at::Tensor* tensor : state.tensors()) {
      *tensor = tensor->index_select(0, kept);
    }
  }
}

// One row of the batch.
struct Row {
  std::size_t document;
  Sampler sampler;
  std::int64_t token;  // the last one
  bool ended = false;
};

class Writer {
 public:
  Writer(const Decoder& model, const Borders& borders, const SelfTextConfig& config)
      : model_(model), borders_(borders), config_(config) {}

  // Writes the documents `first` to `first + count`. `written` is called after each step with the count of its new tokens.
  template <typename Written>
  std::vector<std::vector<std::int32_t>> write(std::int64_t first, std::int64_t count, const Written& written) {
    std::vector<std::vector<std::int32_t>> documents(static_cast<std::size_t>(count));
    std::vector<Row> rows;
    for (std::int64_t i = 0; i < count; ++i) {
      rows.push_back({static_cast<std::size_t>(i), Sampler(sampler_config(first + i)), borders_.start});
    }
    std::vector<AttentionState> states;
    for (std::int64_t step = 0; step < config_.length && !rows.empty(); ++step) {
      if (interrupted()) {
        throw Interrupted{};
      }
      choose(states, rows);
      std::int64_t alive = 0;
      for (Row& row : rows) {
        row.ended |= std::find(borders_.end.begin(), borders_.end.end(), row.token) != borders_.end.end();
        if (!row.ended) {
          documents[row.document].push_back(static_cast<std::int32_t>(row.token));
          ++alive;
        }
      }
      written(alive);
      drop_ended(states, rows, alive);
    }
    return documents;
  }

 private:
  SamplerConfig sampler_config(std::int64_t document) const {
    SamplerConfig result;
    result.temperature = config_.temperature;
    result.top_p = config_.top_p;
    Random mix{config_.seed, static_cast<std::uint64_t>(document)};
    result.seed = mix.next();
    return result;
  }

  // One step: the next token of every row that has not ended.
  void choose(std::vector<AttentionState>& states, std::vector<Row>& rows) const {
    const auto count = std::ssize(rows);
    const at::Tensor tokens = at::empty({count, 1}, at::kLong);
    std::ranges::transform(rows, tokens.mutable_data_ptr<std::int64_t>(), &Row::token);
    const at::Tensor logits = model_.logits(model_.continue_from(states, tokens)).to(at::kFloat).contiguous();
    float* values = logits.mutable_data_ptr<float>();
    const auto vocabulary = static_cast<std::size_t>(logits.size(-1));
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        if (rows[i].ended) {
          continue;
        }
        const std::span<float> mine(values + i * vocabulary, vocabulary);
        for (const std::int32_t token : borders_.never) {
          mine[static_cast<std::size_t>(token)] = -INFINITY;
        }
        rows[i].token = rows[i].sampler.sample(mine, {});
      }
    });
  }

  // Ended rows leave the batch a quarter of it at a time, since each leaving copies the states.
  static void drop_ended(std::vector<AttentionState>& states, std::vector<Row>& rows, std::int64_t alive) {
    if (4 * alive > 3 * std::ssize(rows)) {
      return;
    }
    std::vector<std::int64_t> kept;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (!rows[i].ended) {
        kept.push_back(static_cast<std::int64_t>(i));
      }
    }
    std::erase_if(rows, [](const Row& row) { return row.ended; });
    if (!kept.empty()) {
      keep_rows(states, at::tensor(kept, at::kLong));
    }
  }

  const Decoder& model_;
  const Borders& borders_;
  const SelfTextConfig& config_;
};

// Goes on with `text` until it has all tokens, and saves it after every batch.
void write_on(WrittenText& text, const SelfTextCache& file, const Decoder& model, const Tokenizer& tokenizer,
              const SelfTextConfig& config, Progress& progress) {
  const at::NoGradGuard no_gradients;
  const Decoder teacher = model.teacher();
  const Borders where = borders(tokenizer);
  for (const std::vector<std::int32_t>& tokens : {where.end, where.never}) {
    for (const std::int32_t token : tokens) {
      check(token >= 0 && token < model.config().vocabulary,
            "writing text: the tokenizer's token {} is not among the model's {}", token, model.config().vocabulary);
    }
  }
  Writer writer(teacher, where, config);
  Corpus& corpus = text.corpus;
  std::int64_t& first = text.documents;
  progress.begin("the model writes text", config.tokens);
  while (std::ssize(corpus.tokens) < config.tokens) {
    // No more documents than will be wanted, as far as those before tell.
    const std::int64_t before = std::ssize(corpus.tokens);
    const double mean_length = first > 0 ? std::max(1.0, static_cast<double>(before) / static_cast<double>(first))
                                         : static_cast<double>(config.length);
    const double wanted = std::ceil(static_cast<double>(config.tokens - before) / mean_length);
    const auto count = static_cast<std::int64_t>(std::clamp(wanted, 1.0, static_cast<double>(config.batch)));
    std::int64_t done = before;
    std::vector<std::vector<std::int32_t>> documents = writer.write(first, count, [&](std::int64_t tokens) {
      done += tokens;
      progress.update(std::min(done, config.tokens), "");
    });
    first += count;
    for (std::vector<std::int32_t>& document : documents) {
      if (!document.empty() && where.keep_start) {
        document.insert(document.begin(), where.start);
      }
      const std::int64_t room = config.tokens - std::ssize(corpus.tokens);
      append_document(corpus, std::span(document).first(static_cast<std::size_t>(std::min(room, std::ssize(document)))));
    }
    check(!corpus.tokens.empty() || first < 64,
          "writing text: the model ended all of {} documents at once; give text by --data", first);
    if (!corpus.tokens.empty()) file.write(text);
  }
  progress.end();
}

}  // namespace

Corpus self_text(const Decoder& model, const Tokenizer& tokenizer, const std::string& model_sha256,
                 const SelfTextConfig& config, const std::filesystem::path& cache, Progress& progress) {
  check(config.tokens > 0 && config.length > 0 && config.batch > 0,
        "writing text: expected counts above 0, found {} tokens, length {}, batch {}", config.tokens, config.length,
        config.batch);
  const SelfTextCache file(cache, model_sha256, config);
  WrittenText text = file.read(model.config().vocabulary).value_or(WrittenText{});
  if (std::ssize(text.corpus.tokens) < config.tokens) write_on(text, file, model, tokenizer, config, progress);
  Corpus& corpus = text.corpus;
  corpus.description = fmt::format("text written by the model itself: {} documents, {} tokens, seed {}",
                                   corpus.document_starts.size(), corpus.tokens.size(), config.seed);
  seal(corpus);
  return std::move(corpus);
}

}  // namespace hedgehog

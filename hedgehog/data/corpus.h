// Text as token ids with document borders: from text files, JSON lines or folders of them, tokenized once.
#pragma once

#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace hedgehog {

struct Corpus {
  std::vector<std::int32_t> tokens;           // all documents, end to end
  std::vector<std::int64_t> document_starts;  // ascending, the first is 0; a document ends where the next starts
  std::vector<std::uint8_t> scored;           // of each token: whether a loss counts its prediction; empty: all count
  std::string description;                    // for reports: paths, documents, tokens
  std::string sha256;                         // of the token ids, borders, scored: what a resumed run must find again
};

/// Reads *.jsonl (a line is one document: "text", or "messages" by the chat template, or "dialogue" and "summary"), any other
/// file as text (one document), either with .zst unpacked, and folders of *.txt and *.jsonl in name order. `limit_tokens` > 0
/// stops early.
/// A document begins with the tokenizer's begin token if its post-processor puts one there. Throws Error with file and line for
/// what cannot be read, and for a corpus of no tokens.
Corpus read_corpus(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, std::int64_t limit_tokens = 0,
                   const std::string& chat_template = "");

/// For those who make a corpus otherwise: adds a document (an empty one is dropped); and sets sha256 once all are there.
void append_document(Corpus& corpus, std::span<const std::int32_t> tokens);
void seal(Corpus& corpus);

/// The corpus without its end, and the end: `share` of the tokens, at most `most_tokens`. Never the same token in both.
/// Throws Error if either part would be empty.
struct HeldOut {
  Corpus training, evaluation;
};
HeldOut hold_out_end(const Corpus& corpus, double share, std::int64_t most_tokens);

}  // namespace hedgehog

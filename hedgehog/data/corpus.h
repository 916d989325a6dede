// Text as token ids with document borders: from text files, JSON lines or folders of them, tokenized once.
#pragma once

#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace hedgehog {

struct Corpus {
  std::vector<std::int32_t> tokens;             // all documents, end to end
  std::vector<std::int64_t> document_starts;    // ascending, the first is 0; a document ends where the next starts
  std::string description;                      // for reports: paths, documents, tokens
  std::string sha256;                           // of the token ids and borders: what a resumed run must find again
};

/// Reads *.txt (a file is one document; *.zst is unpacked), *.jsonl (a line is one document: "text", or "messages" by the chat
/// template, or "dialogue" and "summary"), and folders of these in name order. `limit_tokens` > 0 stops early.
/// Throws Error with file and line for what cannot be read, and for a corpus of no tokens.
Corpus read_corpus(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, std::int64_t limit_tokens = 0);

}  // namespace hedgehog

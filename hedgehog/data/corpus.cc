#include "hedgehog/data/corpus.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/sha256.h"
#include "hedgehog/data/text_file.h"
#include "hedgehog/tokenizer/chat_template.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 1 << 20;  // bytes tokenized at a time, where a cut can be found

class CorpusReader {
 public:
  CorpusReader(const Tokenizer& tokenizer, std::int64_t limit, const std::string& chat_template)
      : tokenizer_(tokenizer), limit_(limit), chat_template_(chat_template) {
    const std::optional<std::int32_t> begin = tokenizer.begin_token();
    const std::vector<std::int32_t> probe = tokenizer.encode("a", true);
    if (begin && probe.size() > 1 && probe.front() == *begin) begin_ = begin;
    // A tokenizer that treats the start of a text in its own way (a blank put before it) cannot take a text in parts.
    can_cut_ = encodes_in_parts("one\n", "two") && encodes_in_parts("one", " two");
  }

  bool full() const { return limit_ > 0 && std::ssize(corpus_.tokens) >= limit_; }

  void read(const fs::path& path) {
    const bool lines = (path.extension() == ".zst" ? path.stem() : path.filename()).extension() == ".jsonl";
    lines ? read_lines(path) : read_text(path);
  }

  Corpus finish(const std::vector<fs::path>& paths) {
    if (full()) corpus_.tokens.resize(static_cast<std::size_t>(limit_));
    std::string names;
    for (const fs::path& path : paths) names += (names.empty() ? "" : ", ") + path.string();
    check(!corpus_.tokens.empty(), "{}: hold no text", names);
    corpus_.description =
        fmt::format("{}: {} documents, {} tokens", names, corpus_.document_starts.size(), corpus_.tokens.size());
    seal(corpus_);
    return std::move(corpus_);
  }

 private:
  bool encodes_in_parts(const std::string& first, const std::string& second) const {
    std::vector<std::int32_t> parts = tokenizer_.encode(first);
    const std::vector<std::int32_t> rest = tokenizer_.encode(second);
    parts.insert(parts.end(), rest.begin(), rest.end());
    return parts == tokenizer_.encode(first + second);
  }

  void append(std::string_view text) {
    if (text.empty()) return;
    const std::vector<std::int32_t> tokens = tokenizer_.encode(text);
    corpus_.tokens.insert(corpus_.tokens.end(), tokens.begin(), tokens.end());
  }

  void begin_document() {
    start_ = corpus_.tokens.size();
    if (begin_) corpus_.tokens.push_back(*begin_);
  }

  void end_document() {
    if (corpus_.tokens.size() > start_ + (begin_ ? 1 : 0)) {
      corpus_.document_starts.push_back(static_cast<std::int64_t>(start_));
    } else {
      corpus_.tokens.resize(start_);
    }
  }

  void read_text(const fs::path& path) {
    TextFile file(path);
    std::string text;
    std::size_t wanted = kPiece, checked = 0;
    begin_document();
    while (!full() && file.read_more(text)) {
      check(text.find('\0', checked) == std::string::npos, "{}: is no text: it holds a zero byte", path.string());
      checked = text.size();
      if (!can_cut_ || text.size() < wanted) continue;
      std::size_t cut = last_cut(text, kPiece / 2, false);
      if (cut == 0) cut = last_cut(text, kPiece / 2, true);
      if (cut == 0) {
        wanted *= 2;
        continue;
      }
      append(std::string_view(text).substr(0, cut));
      text.erase(0, cut);
      checked -= cut;
      wanted = kPiece;
    }
    if (!full()) append(text);
    end_document();
  }

  void read_lines(const fs::path& path) {
    TextFile file(path);
    std::string text;
    std::int64_t line = 0;
    for (bool more = true; more && !full();) {
      more = file.read_more(text);
      std::size_t start = 0;
      for (std::size_t end; (end = text.find('\n', start)) != std::string::npos && !full(); start = end + 1) {
        read_line(std::string_view(text).substr(start, end - start), path, ++line);
      }
      text.erase(0, start);
    }
    if (!full()) read_line(text, path, ++line);
  }

  void read_line(std::string_view line, const fs::path& path, std::int64_t number) {
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    const std::string where = fmt::format("{}:{}", path.string(), number);
    check(json.is_object(), "{}: expected a JSON object, found {}", where, json.is_discarded() ? "no JSON" : json.type_name());
    begin_document();
    append(document_text(json, where));
    end_document();
  }

  std::string document_text(const nlohmann::json& json, const std::string& where) const {
    if (json.contains("text")) return string_of(json, "text", where);
    if (json.contains("messages")) return conversation(json["messages"], where);
    check(json.contains("dialogue") && json.contains("summary"),
          "{}: expected \"text\", \"messages\", or \"dialogue\" and \"summary\"", where);
    return "Dialogue:\n" + string_of(json, "dialogue", where) + "\n\nSummary:\n" + string_of(json, "summary", where) + "\n";
  }

  std::string conversation(const nlohmann::json& json, const std::string& where) const {
    check(!chat_template_.empty(), "{}: \"messages\" need a chat template, and the model has none", where);
    check(json.is_array() && !json.empty(), "{}: \"messages\" is not a list with entries", where);
    std::vector<ChatMessage> messages;
    for (const nlohmann::json& message : json) {
      check(message.is_object(), "{}: an entry of \"messages\" is no object", where);
      messages.push_back({string_of(message, "role", where), string_of(message, "content", where)});
    }
    const std::string begin = tokenizer_.begin_text();
    std::string text = render_chat_template(chat_template_, messages, false, begin, tokenizer_.end_text());
    // The template writes the begin token itself where the model wants one; begin_document has put it there already.
    if (begin_ && !begin.empty() && text.starts_with(begin)) text.erase(0, begin.size());
    return text;
  }

  static std::string string_of(const nlohmann::json& json, const char* key, const std::string& where) {
    const auto found = json.find(key);
    check(found != json.end() && found->is_string(), "{}: \"{}\" is missing or no string", where, key);
    return found->get<std::string>();
  }

  const Tokenizer& tokenizer_;
  const std::int64_t limit_;
  const std::string& chat_template_;
  std::optional<std::int32_t> begin_;
  bool can_cut_ = false;
  std::size_t start_ = 0;  // of the document that is being read
  Corpus corpus_;
};

}  // namespace

Corpus read_corpus(const std::vector<fs::path>& paths, const Tokenizer& tokenizer, std::int64_t limit_tokens,
                   const std::string& chat_template) {
  check(!paths.empty(), "no text is given");
  CorpusReader reader(tokenizer, limit_tokens, chat_template);
  for (const fs::path& path : text_files(paths)) {
    if (reader.full()) break;
    reader.read(path);
  }
  return reader.finish(paths);
}

void append_document(Corpus& corpus, std::span<const std::int32_t> tokens) {
  if (tokens.empty()) return;
  corpus.document_starts.push_back(std::ssize(corpus.tokens));
  corpus.tokens.insert(corpus.tokens.end(), tokens.begin(), tokens.end());
}

void seal(Corpus& corpus) {
  Sha256 hash;
  const std::uint64_t documents = corpus.document_starts.size();
  hash.update(std::as_bytes(std::span(&documents, 1)));
  hash.update(std::as_bytes(std::span(corpus.document_starts)));
  hash.update(std::as_bytes(std::span(corpus.tokens)));
  hash.update(std::as_bytes(std::span(corpus.scored)));
  corpus.sha256 = hash.hexadecimal();
}

HeldOut hold_out_end(const Corpus& corpus, double share, std::int64_t most_tokens) {
  const std::int64_t all = std::ssize(corpus.tokens);
  const std::int64_t held = std::min(most_tokens, static_cast<std::int64_t>(std::floor(share * static_cast<double>(all))));
  check(held >= 1 && held < all, "{}: too short to hold {} % of it out for evaluation", corpus.description, share * 100);
  const std::int64_t border = all - held;
  HeldOut parts;
  parts.training.tokens.assign(corpus.tokens.begin(), corpus.tokens.begin() + border);
  parts.evaluation.tokens.assign(corpus.tokens.begin() + border, corpus.tokens.end());
  parts.evaluation.document_starts.push_back(0);
  if (!corpus.scored.empty()) {
    parts.training.scored.assign(corpus.scored.begin(), corpus.scored.begin() + border);
    parts.evaluation.scored.assign(corpus.scored.begin() + border, corpus.scored.end());
  }
  for (const std::int64_t start : corpus.document_starts) {
    if (start < border) parts.training.document_starts.push_back(start);
    if (start > border) parts.evaluation.document_starts.push_back(start - border);
  }
  parts.training.description = fmt::format("{}, without the last {} tokens", corpus.description, held);
  parts.evaluation.description = fmt::format("{}, the last {} tokens", corpus.description, held);
  seal(parts.training);
  seal(parts.evaluation);
  return parts;
}

}  // namespace hedgehog

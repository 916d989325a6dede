// Reading the model, and the two ways to merge: scanning for the lowest rank in short words, a heap in long ones (n log n).
#include "hedgehog/tokenizer/bpe.h"

#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/unicode.h"
#include "hedgehog/tokenizer/word_cache.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <queue>
#include <string>

namespace hedgehog {
namespace {

constexpr std::size_t kLongWord = 40;  // symbols from which the heap is quicker

std::uint32_t next_cache_owner() {
  static std::atomic<std::uint32_t> next{1};
  return next.fetch_add(1);
}

// A merge's two texts: "a b", or ["a", "b"] where tokens may hold blanks.
std::pair<std::string, std::string> merge_pair(const nlohmann::json& merge, std::size_t rank) {
  if (merge.is_array()) {
    check(merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
          "tokenizer.json: merge {}: expected two strings, found {}", rank, merge.dump().substr(0, 80));
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  check(merge.is_string(), "tokenizer.json: merge {}: expected a string or an array, found {}", rank, merge.type_name());
  const std::string& text = merge.get_ref<const std::string&>();
  const std::size_t blank = text.find(' ');
  check(blank != std::string::npos && text.find(' ', blank + 1) == std::string::npos,
        "tokenizer.json: merge {}: expected two tokens with one blank between them, found '{}'", rank, text.substr(0, 80));
  return {text.substr(0, blank), text.substr(blank + 1)};
}

}  // namespace

MergeTable::MergeTable(std::size_t merges) : mask_(std::bit_ceil(2 * merges + 2) - 1), slots_(mask_ + 1) {}

void MergeTable::insert(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t key = key_of(left, right);
  std::size_t i = slot_of(key);
  while (slots_[i].key != kEmpty && slots_[i].key != key) {
    i = (i + 1) & mask_;
  }
  slots_[i] = {key, merge};
}

Bpe::Bpe(const nlohmann::json& model) : cache_owner_(next_cache_owner()) {
  check(model.is_object(), "tokenizer.json: 'model' should be an object, found {}", model.type_name());
  // Files of before 2020 leave the type out.
  const std::string type = model.contains("type") ? string_field(model, "type", "model") : "BPE";
  check(type == "BPE", "tokenizer.json: unknown model '{}': byte-level BPE is what is known", type);
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const nlohmann::json* value = optional_field(model, name);
    check(value == nullptr || *value == "", "tokenizer.json: model: '{}' is not known with byte-level BPE", name);
  }
  read_vocabulary(model);
  const bool complete = std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
  check(complete || !flag_field(model, "byte_fallback", false),
        "tokenizer.json: model: byte_fallback is known only where it has no effect: with all 256 bytes in the vocabulary; "
        "SentencePiece tokenizers (Llama 1 and 2, older Mistral models) are not supported");
  read_merges(model);
  if (const nlohmann::json* unknown = optional_field(model, "unk_token")) {
    check(unknown->is_string(), "tokenizer.json: model: unk_token should be a string, found {}", unknown->type_name());
    const auto found = vocabulary_.find(unknown->get_ref<const std::string&>());
    check(complete || found != vocabulary_.end(), "tokenizer.json: model: unk_token is not in the vocabulary");
    if (found != vocabulary_.end()) {
      unknown_ = found->second;
    }
  }
  fuse_unknown_ = flag_field(model, "fuse_unk", false);
  if (flag_field(model, "ignore_merges", false)) {
    whole_words_.emplace();
    for (const auto& [text, id] : vocabulary_) {
      std::string bytes = token_text_to_bytes(text);
      if (bytes_to_token_text(bytes) == text) {  // else no word can be spelled like it
        whole_words_->emplace(std::move(bytes), id);
      }
    }
  }
}

void Bpe::read_vocabulary(const nlohmann::json& model) {
  const nlohmann::json& vocabulary = object_field(model, "vocab", "model");
  vocabulary_.reserve(vocabulary.size());
  for (const auto& [text, id] : vocabulary.items()) {
    const std::int32_t value = id_value(id, "vocab");
    // Tables are indexed by id: a damaged id must not make them huge.
    check(static_cast<std::size_t>(value) < 4 * vocabulary.size() + 65536,
          "tokenizer.json: vocab: the id {} lies far above the number of entries, {}", value, vocabulary.size());
    vocabulary_.emplace(text, value);
    id_end_ = std::max(id_end_, value + 1);
  }
  byte_ids_.fill(-1);
  for (int byte = 0; byte < 256; ++byte) {
    const char value = static_cast<char>(byte);
    const auto found = vocabulary_.find(bytes_to_token_text({&value, 1}));
    if (found != vocabulary_.end()) {
      byte_ids_[byte] = found->second;
    }
  }
}

void Bpe::read_merges(const nlohmann::json& model) {
  const nlohmann::json& merges = array_field(model, "merges", "model");
  merges_ = MergeTable(merges.size());
  std::uint32_t rank = 0;
  for (const auto& merge : merges) {
    if (merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) {
      continue;
    }
    const auto [left, right] = merge_pair(merge, rank);
    const auto id_of = [&, rank](const std::string& text) {
      const auto found = vocabulary_.find(text);
      check(found != vocabulary_.end(), "tokenizer.json: merge {}: '{}' is not in the vocabulary", rank, text.substr(0, 80));
      return found->second;
    };
    merges_.insert(id_of(left), id_of(right), {rank, id_of(left + right)});
    ++rank;
  }
}

void Bpe::encode_word(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (word.empty()) {
    return;
  }
  if (word.size() > WordCache::kMaximumBytes) {
    encode_uncached(word, ids);
    return;
  }
  WordCache& cache = WordCache::of_this_thread();
  const WordCache::Key key = WordCache::key_of(word, cache_owner_);
  if (const WordCache::Slot* slot = cache.find(key)) {
    ids.insert(ids.end(), slot->ids, slot->ids + slot->count);
    return;
  }
  const std::size_t before = ids.size();
  encode_uncached(word, ids);
  cache.store(key, std::span(ids).subspan(before));
}

void Bpe::encode_uncached(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (whole_words_) {
    if (const auto found = whole_words_->find(word); found != whole_words_->end()) {
      ids.push_back(found->second);
      return;
    }
  }
  thread_local std::vector<std::int32_t> symbols;
  first_symbols(word, symbols);
  if (symbols.size() < kLongWord) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
  if (symbols.capacity() > 4096) {
    symbols = {};  // don't hold on to the memory of one huge word
  }
}

// A byte that the vocabulary lacks becomes the unknown token, several in a row one if they fuse, or nothing if there is none.
void Bpe::first_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const {
  symbols.clear();
  bool after_unknown = false;
  for (const char c : word) {
    const std::int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      symbols.push_back(id);
    } else if (unknown_ && !(after_unknown && fuse_unknown_)) {
      symbols.push_back(*unknown_);
    }
    after_unknown = id < 0;
  }
}

void Bpe::merge_short(std::vector<std::int32_t>& symbols) const {
  std::size_t count = symbols.size();
  MergeTable::Merge merges[kLongWord];  // merges[i]: of symbols i and i + 1
  for (std::size_t i = 0; i + 1 < count; ++i) {
    merges[i] = merges_.find(symbols[i], symbols[i + 1]);
  }
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      best = merges[i].rank < merges[best].rank ? i : best;
    }
    if (merges[best].rank == MergeTable::kNone) {
      break;
    }
    symbols[best] = merges[best].id;
    std::copy(symbols.begin() + best + 2, symbols.begin() + count, symbols.begin() + best + 1);
    std::copy(merges + best + 1, merges + count - 1, merges + best);
    --count;
    if (best > 0) {
      merges[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
    }
    if (best + 1 < count) {
      merges[best] = merges_.find(symbols[best], symbols[best + 1]);
    }
  }
  symbols.resize(count);
}

void Bpe::merge_long(std::vector<std::int32_t>& symbols) const {
  check(symbols.size() < 0x7FFFFFFF, "a word of {} bytes is too long to tokenize", symbols.size());
  struct Candidate {
    std::uint32_t rank, position;
    std::int32_t left, right, id;
    bool operator<(const Candidate& other) const {  // the top of the queue is the lowest rank, then the leftmost
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  const auto size = static_cast<std::uint32_t>(symbols.size());
  std::vector<std::uint32_t> next(size), previous(size);
  std::vector<Candidate> initial;
  const auto candidate = [&](std::uint32_t left, std::uint32_t right) -> std::optional<Candidate> {
    const MergeTable::Merge merge = merges_.find(symbols[left], symbols[right]);
    if (merge.rank == MergeTable::kNone) {
      return std::nullopt;
    }
    return Candidate{merge.rank, left, symbols[left], symbols[right], merge.id};
  };
  for (std::uint32_t i = 0; i < size; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
    if (i + 1 < size) {
      if (const auto found = candidate(i, i + 1)) {
        initial.push_back(*found);
      }
    }
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(initial));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const std::uint32_t left = top.position;
    const std::uint32_t right = next[left];
    if (symbols[left] != top.left || right >= size || symbols[right] != top.right) {
      continue;  // one of the two has been merged with another since
    }
    symbols[left] = top.id;
    symbols[right] = -1;
    next[left] = next[right];
    if (next[left] < size) {
      previous[next[left]] = left;
      if (const auto found = candidate(left, next[left])) {
        queue.push(*found);
      }
    }
    if (left > 0) {
      if (const auto found = candidate(previous[left], left)) {
        queue.push(*found);
      }
    }
  }
  std::erase(symbols, -1);
}

}  // namespace hedgehog

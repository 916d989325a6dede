// Reading the model, and the symbols that a word begins as.
#include "hedgehog/tokenizer/bpe.h"

#include "hedgehog/tokenizer/json_fields.h"
#include "hedgehog/tokenizer/unicode.h"
#include "hedgehog/tokenizer/word_cache.h"

#include <algorithm>
#include <string>
#include <utility>

namespace hedgehog {
namespace {

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

Bpe::Bpe(const nlohmann::json& model, BpeSymbols symbols) : symbols_(symbols), cache_owner_(WordCache::new_owner()) {
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const nlohmann::json* value = optional_field(model, name);
    check(value == nullptr || *value == "", "tokenizer.json: model: BPE with '{}' is not known", name);
  }
  vocabulary_ = read_vocabulary(model);
  read_byte_ids(flag_field(model, "byte_fallback", false));
  read_unknown(model);
  if (flag_field(model, "ignore_merges", false)) {
    read_whole_words();
  }
  read_merges(model);
}

void Bpe::read_byte_ids(bool byte_fallback) {
  byte_ids_.fill(-1);
  if (symbols_ == BpeSymbols::kCharacters && !byte_fallback) {
    return;
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char value = static_cast<char>(byte);
    const auto found =
        vocabulary_.find(symbols_ == BpeSymbols::kBytes ? bytes_to_token_text({&value, 1}) : fmt::format("<0x{:02X}>", byte));
    if (found != vocabulary_.end()) {
      byte_ids_[byte] = found->second;
    }
  }
  const bool complete = std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
  check(
      symbols_ == BpeSymbols::kCharacters || complete || !byte_fallback,
      "tokenizer.json: model: byte_fallback with a ByteLevel pre-tokenizer is known only where it has no effect: with all 256 "
      "bytes in the vocabulary");
}

void Bpe::read_unknown(const nlohmann::json& model) {
  if (const nlohmann::json* unknown = optional_field(model, "unk_token")) {
    check(unknown->is_string(), "tokenizer.json: model: unk_token should be a string, found {}", unknown->type_name());
    const auto found = vocabulary_.find(unknown->get_ref<const std::string&>());
    const bool complete = std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
    check(complete || found != vocabulary_.end(), "tokenizer.json: model: unk_token is not in the vocabulary");
    if (found != vocabulary_.end()) {
      unknown_ = found->second;
    }
  }
  fuse_unknown_ = flag_field(model, "fuse_unk", false);
}

void Bpe::read_whole_words() {
  whole_words_.emplace();
  for (const auto& [text, id] : vocabulary_) {
    std::string bytes = symbols_ == BpeSymbols::kBytes ? token_text_to_bytes(text) : text;
    if (symbols_ == BpeSymbols::kCharacters || bytes_to_token_text(bytes) == text) {  // else no word can be spelled like it
      whole_words_->emplace(std::move(bytes), id);
    }
  }
}

void Bpe::read_merges(const nlohmann::json& model) {
  const nlohmann::json& merges = array_field(model, "merges", "model");
  merges_ = MergeTable(merges.size());
  // A part that begins with U+2581 is independent of what stands before it if that character is a token (it ends a run of
  // unknown ones), no merge reaches over the border, and no character vanishes, so that others meet which were apart.
  const bool keeps_all = unknown_ || std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
  cut_at_blanks_ = symbols_ == BpeSymbols::kCharacters && !whole_words_ && keeps_all && vocabulary_.contains(kSpaceMark);
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
    const std::string merged = left + right;
    merges_.insert(id_of(left), id_of(right), {rank, id_of(merged)});
    cut_at_blanks_ = cut_at_blanks_ && marked_word_end(merged, 0) == merged.size();
    ++rank;
  }
}

void Bpe::encode_word(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (!cut_at_blanks_) {
    encode_part(word, ids);
    return;
  }
  for (std::size_t begin = 0; begin < word.size();) {
    const std::size_t end = marked_word_end(word, begin);
    encode_part(word.substr(begin, end - begin), ids);
    begin = end;
  }
}

void Bpe::encode_part(std::string_view word, std::vector<std::int32_t>& ids) const {
  WordCache::encode(word, cache_owner_, ids,
                    [this](std::string_view uncached, std::vector<std::int32_t>& to) { encode_uncached(uncached, to); });
}

void Bpe::encode_uncached(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (whole_words_) {
    if (const auto found = whole_words_->find(word); found != whole_words_->end()) {
      ids.push_back(found->second);
      return;
    }
  }
  thread_local std::vector<std::int32_t> symbols;
  symbols.clear();
  if (symbols_ == BpeSymbols::kBytes) {
    bytes_to_symbols(word, symbols);
  } else {
    characters_to_symbols(word, symbols);
  }
  merges_.merge(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
  if (symbols.capacity() > 4096) {
    symbols = {};  // don't hold on to the memory of one huge word
  }
}

// A byte that the vocabulary lacks becomes the unknown token, several in a row one if they fuse, or nothing if there is none.
void Bpe::bytes_to_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const {
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

// A character that the vocabulary lacks becomes its bytes, or if they are not all there the unknown token. Such a token waits
// for the next known character, also behind bytes that come between them: so does the library.
void Bpe::characters_to_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const {
  bool waiting = false;
  const auto add_waiting = [&] {
    if (waiting) {
      symbols.push_back(*unknown_);
    }
    waiting = false;
  };
  for (std::size_t i = 0; i < word.size();) {
    const std::string_view character = word.substr(i, decode_character(word.data() + i).bytes);
    i += character.size();
    const auto byte_id = [this](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
    if (const auto found = vocabulary_.find(character); found != vocabulary_.end()) {
      add_waiting();
      symbols.push_back(found->second);
    } else if (std::all_of(character.begin(), character.end(), [&](char c) { return byte_id(c) >= 0; })) {
      std::transform(character.begin(), character.end(), std::back_inserter(symbols), byte_id);
    } else if (unknown_) {
      if (!fuse_unknown_) {
        add_waiting();
      }
      waiting = true;
    }
  }
  add_waiting();
}

}  // namespace hedgehog

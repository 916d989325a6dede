#include "hedgehog/tokenizer/sentencepiece_model.h"

#include "hedgehog/tokenizer/protobuf_wire.h"
#include "hedgehog/tokenizer/sentencepiece_charsmap.h"
#include "hedgehog/tokenizer/unicode.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

namespace hedgehog {
namespace {

constexpr const char* kFile = "tokenizer.model";
constexpr std::size_t kLongestPiece = 1024;    // bytes; trained models stay far below
constexpr std::size_t kMostNestedPieces = 64;  // user-defined pieces of which each begins with the one before
constexpr std::uint64_t kUnigram = 1, kBpe = 2;

SentencePieceModel::Piece read_piece(WireReader reader, std::size_t id) {
  SentencePieceModel::Piece piece;
  while (reader.next()) {
    if (reader.field() == 1) {
      piece.text = reader.bytes();
    } else if (reader.field() == 2) {
      piece.score = reader.real();
    } else if (reader.field() == 3) {
      check(reader.number() >= 1 && reader.number() <= 6, "{}: piece {} is of unknown type {}", kFile, id, reader.number());
      piece.type = static_cast<SentencePieceModel::Type>(reader.number());
    }
  }
  check(!piece.text.empty(), "{}: piece {} is empty", kFile, id);
  return piece;
}

void read_trainer_spec(WireReader reader, SentencePieceModel& model) {
  while (reader.next()) {
    if (reader.field() == 3) {
      check(reader.number() == kUnigram || reader.number() == kBpe,
            "{}: model type {} is not known: BPE (2) and unigram (1) models are", kFile, reader.number());
      model.is_bpe = reader.number() == kBpe;
    } else if (reader.field() == 24) {
      model.blanks_as_suffix = reader.flag();
    } else if (reader.field() == 35) {
      model.byte_fallback = reader.flag();
    }
  }
}

void read_normalizer_spec(WireReader reader, SentencePieceModel& model) {
  while (reader.next()) {
    if (reader.field() == 2) {
      model.character_map = reader.bytes();
    } else if (reader.field() == 3) {
      model.adds_dummy_prefix = reader.flag();
    } else if (reader.field() == 4) {
      model.removes_extra_blanks = reader.flag();
    } else if (reader.field() == 5) {
      model.escapes_blanks = reader.flag();
    }
  }
}

bool is_byte_piece(const std::string& text) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  return text.size() == 6 && text.starts_with("<0x") && text[5] == '>' && kDigits.find(text[3]) != std::string_view::npos &&
         kDigits.find(text[4]) != std::string_view::npos;
}

// The library looks for user-defined pieces into an array of fixed size.
void check_nesting(const SentencePieceModel& model, const char* name) {
  std::vector<std::string_view> texts;
  for (const auto& piece : model.pieces) {
    if (piece.type == SentencePieceModel::kUserDefined) {
      texts.emplace_back(piece.text);
    }
  }
  std::sort(texts.begin(), texts.end());
  std::vector<std::string_view> prefixes;  // of the current text, each a prefix of the next
  for (const std::string_view text : texts) {
    while (!prefixes.empty() && !text.starts_with(prefixes.back())) {
      prefixes.pop_back();
    }
    prefixes.push_back(text);
    check(prefixes.size() <= kMostNestedPieces, "{}: more than {} user-defined pieces begin one with another, up to '{}'", name,
          kMostNestedPieces, text.substr(0, 80));
  }
}

}  // namespace

bool SentencePieceModel::leaves_text_alone() const {
  return character_map.empty() && !removes_extra_blanks && escapes_blanks && !blanks_as_suffix;
}

SentencePieceModel read_sentencepiece_model(std::string_view file) {
  SentencePieceModel model;
  bool has_trainer = false, has_normalizer = false;
  WireReader reader(file, 0, kFile);
  while (reader.next()) {
    if (reader.field() == 1) {
      model.pieces.push_back(read_piece(reader.message(), model.pieces.size()));
    } else if (reader.field() == 2) {
      read_trainer_spec(reader.message(), model);
      has_trainer = true;
    } else if (reader.field() == 3) {
      read_normalizer_spec(reader.message(), model);
      has_normalizer = true;
    }
  }
  check(!model.pieces.empty(), "{}: is no SentencePiece model: it holds no pieces", kFile);
  // Without them a model would be read as one of another kind.
  check(has_trainer && has_normalizer, "{}: ends behind {} pieces, before it says how text is cut and normalized", kFile,
        model.pieces.size());
  check_sentencepiece_model(model, kFile);
  return model;
}

void check_sentencepiece_model(const SentencePieceModel& model, const char* name) {
  std::unordered_set<std::string_view> seen;
  int unknown = 0, bytes = 0;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePieceModel::Piece& piece = model.pieces[id];
    check(!piece.text.empty() && piece.text.size() <= kLongestPiece, "{}: piece {} has {} bytes, expected 1 to {}", name, id,
          piece.text.size(), kLongestPiece);
    check(valid_utf8_prefix(piece.text) == piece.text.size() && piece.text.find('\0') == std::string::npos,
          "{}: piece {} is not UTF-8 or holds a zero byte", name, id);
    check(seen.insert(piece.text).second, "{}: piece {} is the same as an earlier one, '{}'", name, id,
          piece.text.substr(0, 80));
    check(std::isfinite(piece.score), "{}: piece {}, '{}', has the score {}", name, id, piece.text.substr(0, 80), piece.score);
    unknown += piece.type == SentencePieceModel::kUnknown ? 1 : 0;
    if (piece.type == SentencePieceModel::kByte) {
      check(is_byte_piece(piece.text), "{}: piece {} should be a byte such as <0x0A>, found '{}'", name, id,
            piece.text.substr(0, 80));
      ++bytes;
    }
  }
  check(unknown == 1, "{}: expected one piece of type unknown, found {}", name, unknown);
  check(bytes == (model.byte_fallback ? 256 : 0), "{}: expected {} pieces of type byte, found {}", name,
        model.byte_fallback ? 256 : 0, bytes);
  check_nesting(model, name);
  if (!model.character_map.empty()) {
    check_character_map(model.character_map, name);
  }
}

std::string write_sentencepiece_model(const SentencePieceModel& model) {
  WireWriter file;
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    WireWriter entry;
    entry.bytes(1, piece.text);
    entry.real(2, piece.score);
    entry.number(3, piece.type);
    file.bytes(1, entry.message());
  }
  WireWriter trainer;
  trainer.number(3, model.is_bpe ? kBpe : kUnigram);
  trainer.number(24, model.blanks_as_suffix ? 1 : 0);
  trainer.number(35, model.byte_fallback ? 1 : 0);
  file.bytes(2, trainer.message());
  WireWriter normalizer;
  normalizer.bytes(1, model.character_map.empty() ? "identity" : "user_defined");
  normalizer.bytes(2, model.character_map);
  normalizer.number(3, model.adds_dummy_prefix ? 1 : 0);
  normalizer.number(4, model.removes_extra_blanks ? 1 : 0);
  normalizer.number(5, model.escapes_blanks ? 1 : 0);
  file.bytes(3, normalizer.message());
  return file.message();
}

}  // namespace hedgehog

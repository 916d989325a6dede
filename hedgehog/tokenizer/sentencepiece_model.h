// A SentencePiece model, what the file tokenizer.model is: pieces with scores, and how text is normalized before. The fields
// are those of ModelProto in https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

struct SentencePieceModel {
  enum Type : std::uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;  // BPE merges the pair first whose piece has the highest; a log probability for unigram models
    Type type = kNormal;
  };
  std::vector<Piece> pieces;  // by id
  bool is_bpe = false;        // else a unigram model
  bool byte_fallback = false;
  bool blanks_as_suffix = false;  // a word ends with its blank
  std::string character_map;      // what characters become, compiled; see sentencepiece_charsmap.h
  bool adds_dummy_prefix = true;  // a text begins with a blank
  bool removes_extra_blanks = true;
  bool escapes_blanks = true;  // blanks become U+2581

  /// Nothing but blanks is changed in a text.
  bool leaves_text_alone() const;
};

/// Reads tokenizer.model. Throws Error that names the byte or the piece for a file that is damaged, or of a kind that is not
/// known (word and character models).
SentencePieceModel read_sentencepiece_model(std::string_view file);

/// Throws Error unless the library can be trusted with the model: `name` is what errors call it. It aborts the process for
/// some, and reads past its memory for others.
void check_sentencepiece_model(const SentencePieceModel& model, const char* name);

/// As a file.
std::string write_sentencepiece_model(const SentencePieceModel& model);

}  // namespace hedgehog

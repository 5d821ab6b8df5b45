#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "core/formats/tokenizer/definition.h"
#include "core/formats/tokenizer/vocabulary.h"

namespace headlight::formats::tokenizer {

/// A token of one piece: bytes [begin, end) of it. id -1 = no token for these bytes (dropped, and counted).
struct PieceToken {
  std::int32_t id = -1;
  std::uint32_t begin = 0, end = 0;
  bool is_byte = false, is_unknown = false;
};

/// Turns one piece into tokens.
class WordModel {
 public:
  virtual ~WordModel() = default;
  virtual void encode(std::string_view piece, std::vector<PieceToken>& out) const = 0;
};

/// Byte-pair encoding: the adjacent pair with the best priority is merged, leftmost on ties, until none can be;
/// O(n log n) by a heap over a linked list. @param num_bad_merges  counts merges that name unknown tokens
std::unique_ptr<WordModel> make_bpe(const Definition& definition, const Vocabulary& vocabulary,
                                    std::int64_t& num_bad_merges);

/// WordPiece: greedy longest prefix, the whole word unknown when a position fails.
std::unique_ptr<WordModel> make_word_piece(const Definition& definition, const Vocabulary& vocabulary);

}  // namespace headlight::formats::tokenizer

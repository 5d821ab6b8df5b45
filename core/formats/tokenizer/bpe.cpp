#include <queue>

#include "core/formats/tokenizer/aligned_text.h"
#include "core/formats/tokenizer/word_model.h"

namespace headlight::formats::tokenizer {
namespace {

struct Symbol {
  std::int32_t id = -1;
  std::uint32_t begin = 0, end = 0;
  std::int32_t previous = -1, next = -1;
};

struct Merge {
  double priority = 0;  ///< smaller is better
  std::int32_t id = -1;
};

struct Candidate {
  double priority;
  std::int32_t left;
  std::uint32_t begin, middle, end;  ///< of the pair when it was found: stale when a symbol changed since
  std::int32_t id;
  bool operator<(const Candidate& other) const {  // std::priority_queue gives the largest first
    return priority != other.priority ? priority > other.priority : begin > other.begin;
  }
};

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

class Bpe final : public WordModel {
 public:
  Bpe(const Definition& definition, const Vocabulary& vocabulary, std::int64_t& num_bad_merges)
      : vocabulary_(vocabulary),
        byte_level_(definition.byte_level),
        byte_fallback_(definition.byte_fallback),
        fuse_unknown_(definition.fuse_unknown),
        ignore_merges_(definition.ignore_merges),
        by_score_(definition.kind == ModelKind::bpe_scores),
        scores_(definition.scores),
        unknown_id_(definition.unknown_id) {
    merges_.reserve(definition.merges.size());
    for (std::size_t rank = 0; rank < definition.merges.size(); ++rank) {
      const auto& [left, right] = definition.merges[rank];
      const std::int32_t l = find_stored(left), r = find_stored(right);
      const std::int32_t joined = l < 0 || r < 0 ? -1 : vocabulary.find(vocabulary.text(l) + vocabulary.text(r));
      if (joined < 0)
        ++num_bad_merges;
      else
        merges_.emplace(pair_key(l, r), Merge{static_cast<double>(rank), joined});
    }
  }

  void encode(std::string_view piece, std::vector<PieceToken>& out) const override {
    if (ignore_merges_) {
      const std::int32_t whole = vocabulary_.find(piece);
      if (whole >= 0) {
        out.push_back({whole, 0, static_cast<std::uint32_t>(piece.size()), false, false});
        return;
      }
    }
    std::vector<Symbol> symbols = initial_symbols(piece);
    merge_all(piece, symbols);
    for (std::int32_t k = symbols.empty() ? -1 : 0; k >= 0; k = symbols[static_cast<std::size_t>(k)].next)
      emit(piece, symbols[static_cast<std::size_t>(k)], out);
  }

 private:
  std::int32_t find_stored(const std::string& text) const {
    if (!byte_level_) return vocabulary_.find(text);
    const auto bytes = bytes_of_byte_level(text);
    return bytes ? vocabulary_.find(*bytes) : -1;
  }

  /// Bytes or characters. Unknown ones of a ranked vocabulary never merge; of a scored one they may.
  std::vector<Symbol> initial_symbols(std::string_view piece) const {
    std::vector<Symbol> symbols;
    const auto add = [&](std::int32_t id, std::size_t begin, std::size_t end) {
      const auto index = static_cast<std::int32_t>(symbols.size());
      if (index > 0) symbols.back().next = index;
      symbols.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), index - 1, -1});
    };
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t size = byte_level_ ? 1 : static_cast<std::size_t>(code_point_at(piece, at).size);
      const std::int32_t id = byte_level_ ? vocabulary_.byte_token(static_cast<unsigned char>(piece[at]))
                                          : vocabulary_.find(piece.substr(at, size));
      if (id < 0 && !by_score_ && byte_fallback_ && has_all_bytes(piece.substr(at, size)))
        for (std::size_t i = 0; i < size; ++i)
          add(vocabulary_.byte_token(static_cast<unsigned char>(piece[at + i])), at + i, at + i + 1);
      else
        add(id, at, at + size);
      at += size;
    }
    return symbols;
  }

  bool has_all_bytes(std::string_view text) const {
    for (const char c : text)
      if (vocabulary_.byte_token(static_cast<unsigned char>(c)) < 0) return false;
    return true;
  }

  Merge find_merge(std::string_view piece, const Symbol& left, const Symbol& right) const {
    if (by_score_) {
      const std::int32_t id = vocabulary_.find(piece.substr(left.begin, right.end - left.begin));
      return id < 0 ? Merge{} : Merge{-static_cast<double>(scores_[static_cast<std::size_t>(id)]), id};
    }
    if (left.id < 0 || right.id < 0) return {};
    const auto it = merges_.find(pair_key(left.id, right.id));
    return it == merges_.end() ? Merge{} : it->second;
  }

  void merge_all(std::string_view piece, std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate> queue;
    const auto offer = [&](std::int32_t left) {
      if (left < 0) return;
      const Symbol& a = symbols[static_cast<std::size_t>(left)];
      if (a.next < 0) return;
      const Symbol& b = symbols[static_cast<std::size_t>(a.next)];
      const Merge merge = find_merge(piece, a, b);
      if (merge.id >= 0) queue.push({merge.priority, left, a.begin, b.begin, b.end, merge.id});
    };
    for (std::size_t k = 0; k + 1 < symbols.size(); ++k) offer(static_cast<std::int32_t>(k));
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[static_cast<std::size_t>(best.left)];
      if (left.begin == left.end || left.begin != best.begin || left.next < 0) continue;
      Symbol& right = symbols[static_cast<std::size_t>(left.next)];
      if (right.begin != best.middle || right.end != best.end) continue;
      left.id = best.id;
      left.end = right.end;
      left.next = right.next;
      right.begin = right.end = 0;  // gone: an empty symbol matches no candidate
      if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = best.left;
      offer(best.left);
      offer(left.previous);
    }
  }

  void emit(std::string_view piece, const Symbol& symbol, std::vector<PieceToken>& out) const {
    if (symbol.id >= 0) {
      const bool is_byte = byte_fallback_ && vocabulary_.byte_of(symbol.id).has_value();
      out.push_back({symbol.id, symbol.begin, symbol.end, is_byte, false});
      return;
    }
    const auto text = piece.substr(symbol.begin, symbol.end - symbol.begin);
    if (byte_fallback_ && has_all_bytes(text)) {
      for (std::size_t i = 0; i < text.size(); ++i) {
        const auto begin = symbol.begin + static_cast<std::uint32_t>(i);
        out.push_back({vocabulary_.byte_token(static_cast<unsigned char>(text[i])), begin, begin + 1, true, false});
      }
      return;
    }
    const bool fuses =
        fuse_unknown_ && unknown_id_ && !out.empty() && out.back().is_unknown && out.back().end == symbol.begin;
    if (fuses)
      out.back().end = symbol.end;
    else
      out.push_back({unknown_id_.value_or(-1), symbol.begin, symbol.end, false, unknown_id_.has_value()});
  }

  const Vocabulary& vocabulary_;
  bool byte_level_, byte_fallback_, fuse_unknown_, ignore_merges_, by_score_;
  std::vector<float> scores_;
  std::optional<std::int32_t> unknown_id_;
  std::unordered_map<std::uint64_t, Merge> merges_;
};

class WordPiece final : public WordModel {
 public:
  WordPiece(const Definition& definition, const Vocabulary& vocabulary)
      : vocabulary_(vocabulary),
        prefix_(definition.continuing_prefix),
        max_chars_(definition.max_word_chars),
        unknown_id_(definition.unknown_id) {}

  void encode(std::string_view piece, std::vector<PieceToken>& out) const override {
    const std::size_t first = out.size();
    std::int64_t chars = 0;
    for (const char c : piece) chars += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    bool known = chars <= max_chars_;
    for (std::size_t begin = 0; known && begin < piece.size();) {
      std::size_t end = piece.size();
      std::int32_t id = -1;
      for (; end > begin; --end) {
        if (end < piece.size() && (static_cast<unsigned char>(piece[end]) & 0xC0) == 0x80) continue;
        const auto part = piece.substr(begin, end - begin);
        id = begin == 0 ? vocabulary_.find(part) : vocabulary_.find(prefix_ + std::string(part));
        if (id >= 0) break;
      }
      known = id >= 0;
      if (known) out.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), false, false});
      begin = end;
    }
    if (known) return;
    out.resize(first);
    out.push_back({unknown_id_.value_or(-1), 0, static_cast<std::uint32_t>(piece.size()), false, true});
  }

 private:
  const Vocabulary& vocabulary_;
  std::string prefix_;
  std::int64_t max_chars_;
  std::optional<std::int32_t> unknown_id_;
};

}  // namespace

std::unique_ptr<WordModel> make_bpe(const Definition& definition, const Vocabulary& vocabulary,
                                    std::int64_t& num_bad_merges) {
  return std::make_unique<Bpe>(definition, vocabulary, num_bad_merges);
}

std::unique_ptr<WordModel> make_word_piece(const Definition& definition, const Vocabulary& vocabulary) {
  return std::make_unique<WordPiece>(definition, vocabulary);
}

}  // namespace headlight::formats::tokenizer

#pragma once

#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "core/formats/tokenizer/definition.h"

namespace headlight::formats::tokenizer {

/// An added token found in a text, with the white space it swallows.
struct AddedMatch {
  std::size_t begin = 0, end = 0;
  const AddedToken* token = nullptr;
};

/// Finds added tokens: leftmost first, the longest at a place. A trie, so that a vocabulary with thousands of them
/// costs a few steps per byte.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);
  bool empty() const { return tokens_.empty(); }

  /// @param accept  (token, begin, end): false = read it as ordinary text here
  template <class Accept>
  std::vector<AddedMatch> find(std::string_view text, Accept&& accept) const {
    std::vector<AddedMatch> found;
    std::size_t free_from = 0;
    for (std::size_t at = 0; at < text.size();) {
      const AddedToken* best = nullptr;
      std::size_t best_end = 0, node = 0;
      for (std::size_t i = at; i < text.size(); ++i) {
        const auto it = edges_.find({node, static_cast<unsigned char>(text[i])});
        if (it == edges_.end()) break;
        node = it->second;
        const AddedToken* token = at_node_[node];
        if (token != nullptr && fits(*token, text, at, i + 1) && accept(*token, at, i + 1)) {
          best = token;
          best_end = i + 1;
        }
      }
      if (best == nullptr) {
        ++at;
        continue;
      }
      found.push_back(with_white_space(*best, text, free_from, at, best_end));
      at = free_from = found.back().end;
    }
    return found;
  }

 private:
  static bool fits(const AddedToken& token, std::string_view text, std::size_t begin, std::size_t end);
  static AddedMatch with_white_space(const AddedToken& token, std::string_view text, std::size_t free_from,
                                     std::size_t begin, std::size_t end);

  std::vector<AddedToken> tokens_;
  std::map<std::pair<std::size_t, unsigned char>, std::size_t> edges_;
  std::vector<const AddedToken*> at_node_;
};

}  // namespace headlight::formats::tokenizer

#include "core/formats/tokenizer/added_tokens.h"

#include "core/formats/tokenizer/aligned_text.h"

namespace headlight::formats::tokenizer {
namespace {

std::size_t start_of_character_before(std::string_view text, std::size_t at) {
  do --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), at_node_(1, nullptr) {
  for (const AddedToken& token : tokens_) {
    std::size_t node = 0;
    for (const char c : token.content) {
      const auto [it, is_new] = edges_.try_emplace({node, static_cast<unsigned char>(c)}, at_node_.size());
      if (is_new) at_node_.push_back(nullptr);
      node = it->second;
    }
    if (node != 0) at_node_[node] = &token;
  }
}

bool AddedTokenFinder::fits(const AddedToken& token, std::string_view text, std::size_t begin, std::size_t end) {
  if (!token.single_word) return true;
  const bool word_before =
      begin > 0 && is_word_character(code_point_at(text, start_of_character_before(text, begin)).value);
  return !word_before && !(end < text.size() && is_word_character(code_point_at(text, end).value));
}

AddedMatch AddedTokenFinder::with_white_space(const AddedToken& token, std::string_view text, std::size_t free_from,
                                              std::size_t begin, std::size_t end) {
  while (token.lstrip && begin > free_from) {
    const std::size_t before = start_of_character_before(text, begin);
    if (!is_white_space(code_point_at(text, before).value)) break;
    begin = before;
  }
  while (token.rstrip && end < text.size() && is_white_space(code_point_at(text, end).value))
    end += static_cast<std::size_t>(code_point_at(text, end).size);
  return {begin, end, &token};
}

}  // namespace headlight::formats::tokenizer

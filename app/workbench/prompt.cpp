#include "app/workbench/prompt.h"

#include <charconv>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::workbench {
namespace {

const formats::Tokenizer& tokenizer_of(const formats::ModelFile& model) {
  if (!model.tokenizer)
    throw Error(Errc::unsupported, "the model has no tokenizer",
                {.file = model.files.empty() ? "" : model.files[0].string(),
                 .field = {},
                 .offset = {},
                 .hint = "give token ids with --token-ids"});
  return *model.tokenizer;
}

Prompt encoded(const formats::ModelFile& model, std::string text, const formats::EncodeOptions& encode) {
  const formats::Tokenizer& tokenizer = tokenizer_of(model);
  const formats::Encoding encoding = tokenizer.encode(text, encode);
  Prompt prompt;
  prompt.num_invalid_sequences = encoding.num_invalid_sequences;
  prompt.num_dropped_bytes = encoding.num_dropped_bytes;
  prompt.record.text = std::move(text);
  for (const auto& token : encoding.tokens) prompt.record.tokens.push_back(to_token_info(&tokenizer, token));
  return prompt;
}

/// Token ranges of the messages, from the byte ranges that their contents take in the rendered prompt.
void add_segments(capture::RecordHeader& record, const formats::RenderedChat& chat,
                  const std::vector<formats::ChatMessage>& messages) {
  for (const auto& span : chat.spans) {
    if (span.message < 0) continue;
    capture::Segment segment{messages[static_cast<std::size_t>(span.message)].role, -1, -1};
    for (std::size_t i = 0; i < record.tokens.size(); ++i) {
      auto& token = record.tokens[i];
      if (token.byte_begin < static_cast<std::int64_t>(span.begin) ||
          token.byte_end > static_cast<std::int64_t>(span.end) || token.byte_end <= token.byte_begin)
        continue;
      if (segment.begin < 0) segment.begin = static_cast<std::int64_t>(i);
      segment.end = static_cast<std::int64_t>(i) + 1;
      token.segment = static_cast<std::int16_t>(record.segments.size());
    }
    if (segment.begin >= 0) record.segments.push_back(segment);
  }
}

/// Character offset of every byte offset asked for in ascending order.
class CharacterCounter {
 public:
  explicit CharacterCounter(std::string_view text) : text_(text) {}
  std::int64_t at(std::int64_t byte) {
    for (; byte_ < byte; ++byte_)
      if ((static_cast<unsigned char>(text_[static_cast<std::size_t>(byte_)]) & 0xC0) != 0x80) ++characters_;
    return characters_;
  }

 private:
  std::string_view text_;
  std::int64_t byte_ = 0, characters_ = 0;
};

}  // namespace

std::string token_label(std::string_view piece) {
  std::string label = formats::display_piece(piece);
  const std::pair<std::string_view, std::string_view> signs[] = {
      {"\u240A", "\u21B5"}, {"\u2409", "\u21E5"}, {"\u240D", "\u2190"}};
  for (const auto& [rare, common] : signs)
    for (std::size_t at = 0; (at = label.find(rare, at)) != std::string::npos; at += common.size())
      label.replace(at, rare.size(), common);
  return label;
}

capture::TokenInfo to_token_info(const formats::Tokenizer* tokenizer, const formats::Token& token) {
  capture::TokenInfo info;
  info.id = token.id;
  info.byte_begin = token.byte_begin;
  info.byte_end = token.byte_end;
  info.char_begin = token.char_begin;
  info.char_end = token.char_end;
  info.kind = static_cast<std::uint8_t>(token.kind);
  if (tokenizer != nullptr) info.piece = tokenizer->piece(token.id);
  return info;
}

Prompt prompt_from_text(const formats::ModelFile& model, std::string text, bool parse_special) {
  formats::EncodeOptions encode;
  encode.parse_special = parse_special;
  return encoded(model, std::move(text), encode);
}

Prompt prompt_from_messages(const formats::ModelFile& model, const std::vector<formats::ChatMessage>& messages,
                            bool add_generation_prompt, bool parse_special) {
  const formats::Tokenizer& tokenizer = tokenizer_of(model);
  const auto bos = tokenizer.bos_id();
  const auto chat =
      formats::render_chat(model.chat_template, messages, add_generation_prompt, bos ? tokenizer.piece(*bos) : "");
  formats::EncodeOptions encode;
  encode.add_special = !(bos && chat.text.starts_with(tokenizer.piece(*bos)));
  encode.parse_special = parse_special;
  for (const auto& span : chat.spans)
    if (span.message >= 0) encode.literal.emplace_back(span.begin, span.end);
  Prompt prompt = encoded(model, chat.text, encode);
  add_segments(prompt.record, chat, messages);
  return prompt;
}

Prompt prompt_from_ids(const formats::ModelFile& model, std::span<const std::int64_t> ids, const std::string& where) {
  Prompt prompt;
  capture::RecordHeader& record = prompt.record;
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= model.spec.vocab_size)
      throw Error(Errc::invalid_argument,
                  fmt::format("expected ids within 0-{}, found {}", model.spec.vocab_size - 1, id),
                  {.file = {}, .field = where, .offset = {}, .hint = {}});
    formats::Token token;
    token.id = static_cast<std::int32_t>(id);
    const bool known = model.tokenizer && id < model.tokenizer->vocab_size();
    if (known && model.tokenizer->is_special(token.id)) token.kind = formats::TokenKind::special;
    record.tokens.push_back(to_token_info(known ? model.tokenizer.get() : nullptr, token));
    auto& info = record.tokens.back();
    info.byte_begin = static_cast<std::int64_t>(record.text.size());
    record.text += info.piece;
    info.byte_end = static_cast<std::int64_t>(record.text.size());
  }
  CharacterCounter count(record.text);
  for (auto& token : record.tokens) {
    token.char_begin = count.at(token.byte_begin);
    token.char_end = count.at(token.byte_end);
  }
  return prompt;
}

std::vector<std::int64_t> parse_token_ids(const std::string& text) {
  std::vector<std::int64_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    while (at != end && (*at == ' ' || *at == ',' || *at == '\n' || *at == '\t')) ++at;
    if (at == end) return ids;
    std::int64_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc())
      throw Error(Errc::invalid_argument,
                  fmt::format("expected token ids such as \"0 2 3\", found '{}'", std::string(at, end).substr(0, 20)),
                  {.file = {}, .field = "token ids", .offset = {}, .hint = {}});
    ids.push_back(id);
    at = next;
  }
}

std::vector<std::int32_t> token_ids_of(const capture::RecordHeader& record) {
  std::vector<std::int32_t> ids;
  for (const auto& token : record.tokens) ids.push_back(token.id);
  return ids;
}

}  // namespace headlight::workbench

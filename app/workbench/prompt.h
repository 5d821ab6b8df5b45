#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/capture/capture_sink.h"
#include "core/formats/chat_template.h"
#include "core/formats/model_file.h"

namespace headlight::workbench {

/// Text made into tokens, each with its place in the text.
struct Prompt {
  capture::RecordHeader record;            ///< tokens, text, segments
  std::int64_t num_invalid_sequences = 0;  ///< ill-formed UTF-8, read as U+FFFD
  std::int64_t num_dropped_bytes = 0;      ///< bytes without a token in the vocabulary
};

/// Raw text, bytes kept; BOS as the tokenizer says.
/// @param parse_special  control tokens written in the text become that token
/// @error unsupported  the model has no tokenizer
Prompt prompt_from_text(const formats::ModelFile& model, std::string text, bool parse_special = true);

/// Messages in the model's chat template; each message is a segment, and its text is never read as control tokens.
/// @error unsupported (no tokenizer, unknown template, unknown role)
Prompt prompt_from_messages(const formats::ModelFile& model, const std::vector<formats::ChatMessage>& messages,
                            bool add_generation_prompt = true, bool parse_special = true);

/// Token ids as they are; nothing is added. The text is that of their pieces, where there is a tokenizer.
/// @param where  what to call the ids in errors
/// @error invalid_argument  an id outside the vocabulary
Prompt prompt_from_ids(const formats::ModelFile& model, std::span<const std::int64_t> ids, const std::string& where);

/// Integers separated by spaces or commas. @error invalid_argument
std::vector<std::int64_t> parse_token_ids(const std::string& text);

/// Text of a token for labels: formats::display_piece() with signs that common fonts have for line ends and tabs.
std::string token_label(std::string_view piece);

/// @param tokenizer  null: the token has no text
capture::TokenInfo to_token_info(const formats::Tokenizer* tokenizer, const formats::Token& token);

std::vector<std::int32_t> token_ids_of(const capture::RecordHeader& record);

}  // namespace headlight::workbench

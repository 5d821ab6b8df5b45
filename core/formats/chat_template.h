#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace headlight::formats {

struct ChatMessage {
  std::string role;  ///< "system", "user", "assistant"
  std::string content;
};

/// A stretch of the rendered prompt that came from one message, so that user text is never parsed as control tokens
/// and analyses can name "the system prompt" or "the question".
struct ChatSpan {
  std::size_t begin = 0, end = 0;  ///< bytes of `text`
  int message = -1;                ///< index of the message whose content this is; -1 = template text
};

struct RenderedChat {
  std::string text;
  std::vector<ChatSpan> spans;  ///< tile `text` in order
};

/// The built-in renderer that fits a Jinja template, recognised by its text: ChatML, Llama 3, Llama 2, Mistral, Gemma,
/// Phi-3, Zephyr, Vicuna. Empty when none does.
std::string_view recognise_chat_template(std::string_view jinja);

/// Renders messages as the model's template does. A system message that the family does not know, an unknown role, or
/// an unknown template is an error that asks for a raw prompt.
/// @error unsupported, bad_format
RenderedChat render_chat(std::string_view jinja, const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                         std::string_view bos_text);

}  // namespace headlight::formats

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/model_input.h"

namespace headlight::cli {
namespace {

Json to_json(const capture::TokenInfo& token) {
  const auto span = [](std::int64_t begin, std::int64_t end) {
    return begin < 0 ? Json(nullptr) : Json::array({begin, end});
  };
  Json json;
  json["id"] = token.id;
  json["piece"] = formats::display_piece(token.piece);
  json["bytes"] = span(token.byte_begin, token.byte_end);
  json["chars"] = span(token.char_begin, token.char_end);
  json["kind"] = token.kind;
  return json;
}

void tokenize(Invocation& invocation, const ModelOptions& model_options, const PromptOptions& prompt_options) {
  const auto model = open_model_file(model_options, false);
  const auto records = read_prompts(invocation, model, prompt_options);
  if (invocation.json) {
    Json list = Json::array();
    for (const auto& token : records.front().tokens) list.push_back(to_json(token));
    print_json(invocation, {model_options.model}, {{"num_tokens", list.size()}, {"tokens", list}});
    return;
  }
  std::string text = fmt::format("{:>7} {:>8} {:>13} {:>13}  piece\n", "index", "id", "bytes", "chars");
  std::size_t index = 0;
  for (const auto& token : records.front().tokens) {
    const auto span = [](std::int64_t begin, std::int64_t end) {
      return begin < 0 ? std::string("-") : fmt::format("{}:{}", begin, end);
    };
    text += fmt::format("{:>7} {:>8} {:>13} {:>13}  {}\n", index++, token.id, span(token.byte_begin, token.byte_end),
                        span(token.char_begin, token.char_end), formats::display_piece(token.piece));
  }
  print_text(text);
}

}  // namespace

Verb tokenize_verb() {
  return {.name = "tokenize",
          .summary = "Token ids, pieces, byte and character spans of a text",
          .examples = {"headlight tokenize smollm2-135m -p 'Hello world'",
                       "headlight tokenize smollm2-135m --chat-file chat.json --json"},
          .define = [](CLI::App& app) -> Action {
            auto model = std::make_shared<ModelOptions>();
            auto prompt = std::make_shared<PromptOptions>();
            add_model_options(app, *model);
            add_prompt_options(app, *prompt, false);
            return [=](Invocation& invocation) { tokenize(invocation, *model, *prompt); };
          }};
}

}  // namespace headlight::cli

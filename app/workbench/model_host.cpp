#include "app/workbench/model_host.h"

#include <filesystem>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/model_runner.h"
#include "core/formats/registry.h"

namespace headlight::workbench {

std::vector<KnownModel> known_models() {
  std::vector<KnownModel> models;
  try {
    for (const auto& entry : formats::load_registry()) {
      std::error_code ignored;
      const bool present = std::filesystem::exists(formats::model_store() / entry.file, ignored);
      if (entry.supported) models.push_back({entry.name, entry.title, present});
    }
  } catch (const Error&) {  // a program without its data folder: models are opened by path
    models.clear();
  }
  return models;
}

ModelHost::ModelHost(const std::string& model, int threads) : argument_(model) {
  engine::EngineOptions options;
  options.threads = threads;
  engine_ = std::make_unique<engine::Engine>(formats::open_model(formats::resolve_model(model)), options);
  runner_ = engine::make_model_runner(*engine_);
}

bool ModelHost::has_chat() const {
  return has_tokenizer() && !formats::recognise_chat_template(file().chat_template).empty();
}

Prompt ModelHost::tokenize(const PromptText& text) const {
  if (text.kind == PromptKind::raw) return prompt_from_text(file(), text.text);
  if (text.kind == PromptKind::token_ids) return prompt_from_ids(file(), parse_token_ids(text.text), "token ids");
  std::vector<formats::ChatMessage> messages;
  if (!text.system.empty()) messages.push_back({"system", text.system});
  messages.push_back({"user", text.text});
  return prompt_from_messages(file(), messages);
}

std::string ModelHost::token_text(std::int32_t id) const {
  const auto* tokenizer = file().tokenizer.get();
  if (tokenizer == nullptr || id < 0 || id >= tokenizer->vocab_size()) return fmt::format("#{}", id);
  return token_label(tokenizer->piece(id));
}

}  // namespace headlight::workbench

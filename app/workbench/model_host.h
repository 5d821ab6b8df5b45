#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/workbench/project.h"
#include "app/workbench/prompt.h"
#include "core/engine/engine.h"
#include "core/runner.h"

namespace headlight::workbench {

/// A model that was looked for by name: what a start page lists.
struct KnownModel {
  std::string name, title;
  bool present = false;  ///< its file is in the model store
};
/// Models of the registry that this build can run. Empty when there is no registry.
std::vector<KnownModel> known_models();

/// A model ready to run. Tokenising may happen on any thread; runs on one at a time.
class ModelHost {
 public:
  /// @param model  path or registry name
  /// @error as formats::resolve_model(), formats::open_model(), engine::Engine
  explicit ModelHost(const std::string& model, int threads = 0);

  const std::string& argument() const { return argument_; }  ///< as it was given
  const capture::ModelInfo& info() const { return runner_->model(); }
  const formats::ModelFile& file() const { return engine_->model(); }
  ModelRunner& runner() { return *runner_; }
  bool has_tokenizer() const { return file().tokenizer != nullptr; }
  bool has_chat() const;  ///< its chat template is one that can be rendered

  /// @error unsupported
  Prompt tokenize(const PromptText& text) const;
  /// Printable text of a token: spaces and control characters as signs.
  std::string token_text(std::int32_t id) const;

 private:
  std::string argument_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<ModelRunner> runner_;
};

}  // namespace headlight::workbench

#pragma once

#include <memory>

#include "app/workbench/model_host.h"
#include "core/planted/planted_model.h"
#include "tests/support/temp_folder.h"

namespace headlight::testing_support {

/// A planted model that is loaded, and a prompt for it (it has no tokenizer).
struct PlantedHost {
  PlantedHost() {
    planted::write_planted_model(planted::planted_model(), folder.path() / "model", false);
    host = std::make_unique<workbench::ModelHost>((folder.path() / "model").string(), 1);
  }
  /// BOS and a text of filler tokens that is said twice.
  workbench::Prompt prompt(int length = 24) const {
    workbench::Prompt made;
    for (int i = 0; i < length; ++i) {
      capture::TokenInfo token;
      token.id = i == 0 ? 0 : 2 + (i - 1) % 11;
      made.record.tokens.push_back(token);
    }
    return made;
  }

  TempFolder folder;
  std::unique_ptr<workbench::ModelHost> host;
};

}  // namespace headlight::testing_support

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "app/workbench/capture_document.h"
#include "app/workbench/live_session.h"
#include "app/workbench/next_tokens.h"

namespace headlight::workbench {

/// What is shown of the next token.
struct Prediction {
  NextTokens next;
  std::vector<std::string> texts;  ///< of next.top
  bool two_sides = false;          ///< false: base only
  std::optional<double> seconds;   ///< the last pass took; captures do not say
};

/// Of a run, before and after.
Prediction prediction_of(const LiveResult& result);

/// From the logits that captures hold of their last prompt token; nullopt when one holds none, or the vocabularies have
/// different sizes. Tokens are named by the model, where one of that vocabulary is loaded, else by the text of the
/// captures, else "#id".
std::optional<Prediction> predict(const CaptureDocument& base, const CaptureDocument* changed, const ModelHost* model);

}  // namespace headlight::workbench

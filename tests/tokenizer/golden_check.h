#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "core/formats/tokenizer.h"

namespace headlight::testing_support {

/// Goldens made with the reference packages, and the vocabularies that were trained for them.
inline const std::string kFolder = std::string(HEADLIGHT_SOURCE_DIR) + "/tests/golden/tokenizers/";
inline constexpr JsonLimits kLimits{.max_bytes = 64u << 20, .max_depth = 64};

std::vector<std::int32_t> ids_of(const formats::Encoding& encoding);

/// The vocabulary from its tokenizer.json.
std::unique_ptr<formats::Tokenizer> trained(const std::string& name);

/// Ordinary tokens lie in the text, in its order.
void check_spans(const std::string& text, const formats::Encoding& encoding);

/// Ids, spans, frames and decoded text of every golden string.
/// @param except  strings with one of these parts are left out
void check_goldens(const formats::Tokenizer& tokenizer, const std::string& name,
                   const std::vector<std::string>& except = {});

}  // namespace headlight::testing_support

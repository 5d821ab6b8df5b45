#pragma once

#include "base/json.h"
#include "core/formats/tokenizer/definition.h"

namespace headlight::formats::tokenizer {

/// The pipeline of a tokenizer.json. @error bad_format; unsupported naming the node
Definition read_tokenizer_json(const Json& json);

}  // namespace headlight::formats::tokenizer

#pragma once

#include <memory>

#include "core/formats/tokenizer.h"
#include "core/formats/tokenizer/definition.h"

namespace headlight::formats::tokenizer {

/// A tokenizer from its definition. @error bad_format naming what contradicts itself
std::unique_ptr<Tokenizer> make_pipeline(Definition definition);

}  // namespace headlight::formats::tokenizer

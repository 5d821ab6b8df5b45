#pragma once

#include "core/formats/tokenizer/aligned_text.h"
#include "core/formats/tokenizer/definition.h"

namespace headlight::formats::tokenizer {

/// Rewrites the text step by step; every byte keeps the place it came from.
AlignedText normalize(AlignedText text, const std::vector<NormalizerStep>& steps);

}  // namespace headlight::formats::tokenizer

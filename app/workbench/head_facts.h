#pragma once

#include <vector>

#include "core/capture/capture_view.h"
#include "core/heads/head_set.h"

namespace headlight::workbench {

/// What a head expression may name where only the model is known: ids, `layer`, `head`.
/// @param layers  recorded layers (model numbers); ids of others are an error
heads::HeadFacts model_head_facts(const heads::HeadGrid& grid, const std::vector<int>& layers);

/// The same with the statistics of a capture, means over rows and over the records of a corpus. Reads them when they
/// are asked for: the view must live as long.
heads::HeadFacts capture_head_facts(const capture::CaptureView& view);

}  // namespace headlight::workbench

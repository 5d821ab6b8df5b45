#pragma once

#include <string>

#include "core/formats/model_file.h"

namespace headlight::cli {

/// Well-known shapes for benchmarks: "smollm2-135m-shape", "llama3-8b", "qwen2.5-7b", ...
bool is_shape(const std::string& name);
std::string shape_names();

/// A model of that shape with random Q8_0 matrices: right in size and cost, meaningless in output.
/// @error out_of_memory
formats::ModelFile random_model(const std::string& shape);

}  // namespace headlight::cli

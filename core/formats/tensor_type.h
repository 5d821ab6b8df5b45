#pragma once

#include "kernels/tensor_type.h"

namespace headlight::formats {

using headlight::ggml_type_name;
using headlight::info;
using headlight::row_bytes;
using headlight::tensor_type_from_ggml;
using headlight::TensorType;
using headlight::TensorTypeInfo;

}  // namespace headlight::formats

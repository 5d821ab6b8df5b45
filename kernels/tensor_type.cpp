#include "kernels/tensor_type.h"

#include <array>

#include "base/error.h"

namespace headlight {
namespace {

constexpr std::array<TensorTypeInfo, 15> kTypes{{
    {TensorType::f32, "F32", 1, 4},
    {TensorType::f16, "F16", 1, 2},
    {TensorType::q4_0, "Q4_0", 32, 18},
    {TensorType::q4_1, "Q4_1", 32, 20},
    {TensorType::q5_0, "Q5_0", 32, 22},
    {TensorType::q5_1, "Q5_1", 32, 24},
    {TensorType::q8_0, "Q8_0", 32, 34},
    {TensorType::q2_k, "Q2_K", 256, 84},
    {TensorType::q3_k, "Q3_K", 256, 110},
    {TensorType::q4_k, "Q4_K", 256, 144},
    {TensorType::q5_k, "Q5_K", 256, 176},
    {TensorType::q6_k, "Q6_K", 256, 210},
    {TensorType::iq4_nl, "IQ4_NL", 32, 18},
    {TensorType::iq4_xs, "IQ4_XS", 256, 136},
    {TensorType::bf16, "BF16", 1, 2},
}};

// Every id that the format ever gave a name to; empty = never used.
constexpr std::array<std::string_view, 43> kGgmlNames{
    "F32",        "F16",        "Q4_0",       "Q4_1",  "Q4_2",     "Q4_3",     "Q5_0",     "Q5_1",    "Q8_0",
    "Q8_1",       "Q2_K",       "Q3_K",       "Q4_K",  "Q5_K",     "Q6_K",     "Q8_K",     "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS",    "IQ1_S",      "IQ4_NL",     "IQ3_S", "IQ2_S",    "IQ4_XS",   "I8",       "I16",     "I32",
    "I64",        "F64",        "IQ1_M",      "BF16",  "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0",
    "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4",    "type 41",  "type 42"};

}  // namespace

const TensorTypeInfo& info(TensorType type) {
  for (const auto& entry : kTypes)
    if (entry.type == type) return entry;
  throw ContractViolation("a TensorType without an entry");
}

std::optional<TensorType> tensor_type_from_ggml(std::uint32_t ggml_type) {
  for (const auto& entry : kTypes)
    if (static_cast<std::uint32_t>(entry.type) == ggml_type) return entry.type;
  return std::nullopt;
}

std::string_view ggml_type_name(std::uint32_t ggml_type) {
  return ggml_type < kGgmlNames.size() ? kGgmlNames[ggml_type] : "unknown";
}

std::uint64_t row_bytes(TensorType type, std::int64_t cols) {
  const auto& facts = info(type);
  HEADLIGHT_CHECK(cols >= 0 && cols % facts.block_size == 0);
  return static_cast<std::uint64_t>(cols) / facts.block_size * facts.block_bytes;
}

}  // namespace headlight

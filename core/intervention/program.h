#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "core/intervention/intervention.h"
#include "kernels/attention.h"

namespace headlight::intervention {

/// What compiling needs to know about a model.
struct ModelShape {
  int num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0, hidden_size = 0;
};

/// What it needs to know about the sequence.
struct PromptFacts {
  std::int64_t num_tokens = 0;  ///< of the prompt
};

inline constexpr std::int64_t kEndless = std::numeric_limits<std::int64_t>::max();

/// Rows of one head's output o[i] before the output projection: o' = keep * o + gain * vector.
struct HeadOutputStep {
  int head = 0;
  kernels::KeyRange rows;  ///< absolute query rows
  float keep = 1.0f, gain = 0.0f;
  const float* vector = nullptr;  ///< [d], or [rows][d] with vector_stride = d; rows without a vector keep their output
  std::int64_t vector_rows = 0;   ///< 0 = the same vector for every row
};

struct LayerProgram {
  std::vector<HeadOutputStep> outputs;  ///< in the order of application
  bool empty() const { return outputs.empty(); }
};

/// A stack compiled for one model and one prompt: flat steps, nothing in them knows the method by name. Interventions
/// whose parameters are the identity have left nothing.
struct Program {
  std::vector<LayerProgram> layers;  ///< [L]; empty = nothing is changed
  /// What the steps point into.
  std::vector<std::shared_ptr<const void>> storage;
  bool empty() const { return layers.empty(); }
};

/// @error invalid_argument  unknown method, parameter, layer or head; a value outside its range; two interventions
///                          that exclude each other (both are named)
Program compile(std::span<const Intervention> stack, const ModelShape& shape, const PromptFacts& prompt);

}  // namespace headlight::intervention

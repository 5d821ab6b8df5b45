#pragma once

#include <vector>

#include "core/formats/model_spec.h"
#include "core/formats/weights.h"
#include "kernels/linear.h"

namespace headlight::engine {

/// y = W x + b; an empty matrix (rows 0) = absent.
struct Linear {
  kernels::MatrixView w;
  const float* bias = nullptr;  ///< [rows] or null
};

struct Norm {
  const float* weight = nullptr;  ///< null = absent
  const float* bias = nullptr;
};

/// Expert matrices stacked by rows: expert e holds rows [e * rows_per_expert, ...).
struct ExpertWeights {
  Linear router;          ///< [E][d]
  Linear gate, up, down;  ///< [E * d_ff][d], [E * d_ff][d], [E * d][d_ff], biases [E * rows]
};

struct LayerWeights {
  Norm attn_norm, post_attention_norm, ffn_norm, post_ffw_norm;
  Linear q, k, v, output;
  const float* q_norm = nullptr;  ///< [D], or [H*D] when the whole projection is normalised
  const float* k_norm = nullptr;
  const float* sinks_h = nullptr;  ///< learned sink logits [H] or null
  Linear gate, up, down;           ///< dense feed-forward
  ExpertWeights experts;           ///< when the model has experts
};

/// Every weight the forward pass touches, with its shape checked against the spec. Points into formats::Weights.
struct ModelWeights {
  kernels::MatrixView token_embedding;     ///< [V][d]
  kernels::MatrixView position_embedding;  ///< [context][d] for learned positions
  std::vector<LayerWeights> layers;
  Norm output_norm;
  Linear output;  ///< [V][d], the embedding when tied
};

/// @error bad_format  missing tensor or wrong shape (names the tensor), an embedding with no rows
ModelWeights bind_weights(const formats::ModelSpec& spec, const formats::Weights& weights);

/// Rows [first, first + count) of a stacked matrix and its bias.
Linear row_slice(const Linear& linear, std::int64_t first, std::int64_t count);

}  // namespace headlight::engine

#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "core/intervention/intervention.h"
#include "kernels/row_program.h"

namespace headlight::intervention {

/// What compiling needs to know about a model.
struct ModelShape {
  int num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0, hidden_size = 0;
  int intermediate_size = 0;  ///< hidden units of the feed-forward; 0 = experts
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
  const float* vector = nullptr;  ///< [d], or [vector_rows][d]; rows beyond those keep their output
  std::int64_t vector_rows = 0;   ///< 0 = the same vector for every row
};

/// Rows of the residual stream entering a layer: x' = x + gain * vector.
struct ResidualStep {
  kernels::KeyRange rows;
  float gain = 0.0f;
  const float* vector = nullptr;  ///< [hidden_size]
};

/// Rows of what a block adds to the residual stream (after its projection and norm): y' = scale * y.
struct BlockStep {
  enum class Block { attention, feed_forward };
  Block block = Block::attention;
  kernels::KeyRange rows;
  float scale = 1.0f;
};

/// Hidden units of the feed-forward after their activation: h' = scale * h on the rows.
struct NeuronStep {
  kernels::KeyRange rows;
  std::vector<int> neurons;
  float scale = 1.0f;
};

/// Embeddings of prompt tokens [keys): x' = (1 - mix) x + mix * mean of x over the keys.
struct EmbeddingStep {
  std::vector<kernels::KeyRange> keys;
  float mix = 0.0f;
};

/// A step whose groups are found when the prompt runs, and then stay.
struct StepRef {
  int head = 0;
  std::size_t step = 0;  ///< index into LayerProgram::steps_h[head]
};

/// Keys that receive much: mean weight over the rows that see them. They become group 1.
struct SinkDetection {
  StepRef target;
  double threshold = 0.1;          ///< of the mean, exclusive
  std::int64_t min_rows = 8;       ///< a key must be seen by so many rows
  bool spare_first_found = false;  ///< what is spared is the first sink found, not the first token
  bool keep_first = false;         ///< the first token keeps its weight (group 2), it receives nothing
};

/// Tokens whose residual is massive in given dimensions: max_k |x[k]| / RMS(x) > tau. Outside the spans they become
/// group 1, inside group 2; the rest of the spans is group 3. Without any inside, the step does nothing.
struct MassiveDetection {
  std::vector<StepRef> targets;
  std::vector<int> dims;
  double tau = 0.0;
  std::vector<kernels::KeyRange> spans;
};

/// A step of a later layer whose runs are found in this one.
struct LaterStep {
  int layer = 0;
  StepRef step;
};

/// How attention on `image` shifts from token to token of `question`: weights exp(alpha * saliency) of the image's keys
/// for steps of later layers (see gaze_saliency()).
struct GazeDetection {
  std::vector<kernels::KeyRange> image, question;
  double alpha = 0.0;
  std::vector<LaterStep> targets;
};

struct LayerProgram {
  std::vector<std::vector<kernels::RowStep>> steps_h;  ///< [H], or empty
  std::vector<SinkDetection> sinks;
  std::vector<MassiveDetection> massive;
  std::vector<GazeDetection> gazes;
  std::vector<HeadOutputStep> outputs;  ///< in the order of application
  std::vector<ResidualStep> residuals;
  std::vector<BlockStep> blocks;
  std::vector<NeuronStep> neurons;

  bool empty() const {
    return steps_h.empty() && outputs.empty() && residuals.empty() && blocks.empty() && neurons.empty();
  }
};

/// A stack compiled for one model and one prompt: flat steps, nothing in them knows a method by name. Interventions
/// whose parameters are the identity have left nothing.
struct Program {
  std::vector<LayerProgram> layers;  ///< [L]; empty = nothing is changed
  std::vector<EmbeddingStep> embeddings;
  std::vector<std::shared_ptr<const void>> storage;  ///< what the steps point into
  bool empty() const { return layers.empty(); }
};

/// @error invalid_argument  unknown method, parameter, layer or head; a value outside its range; two interventions
///                          that exclude each other (both are named)
Program compile(std::span<const Intervention> stack, const ModelShape& shape, const PromptFacts& prompt);

/// Keys whose mean received weight is above the threshold, ascending, without the spared one.
/// @param received_j  sum of A over rows; @param rows_j  rows that see the key
std::vector<std::int64_t> detect_sinks(const SinkDetection& detection, std::span<const float> received_j,
                                       std::span<const std::int64_t> rows_j);
/// Groups of a step on sinks, as runs.
std::vector<kernels::KeyRun> sink_groups(const SinkDetection& detection, std::span<const std::int64_t> sinks);

/// max over the dimensions of |x[k]| / sqrt(mean x^2 + 1e-6); at most sqrt(d).
double massive_ratio(std::span<const float> x_d, std::span<const int> dims);
/// Groups of a step on massive tokens, from the ratio of every token of the prompt; empty when no token of the spans is
/// massive.
std::vector<kernels::KeyRun> massive_groups(const MassiveDetection& detection, std::span<const double> ratio_j);

/// Saliency of image keys from the shift of attention along a question: shift[h][t][j] = max(0, A[h,t,j] - A[h,t-1,j]).
/// The half of the heads with the largest total is kept (at least one), averaged over heads and t, clipped to mean +- 3
/// standard deviations and scaled to [0, 1]; all 0 when it is constant.
/// Source: "Gaze Shift-Guided Cross-modal Fusion Enhancement"
std::vector<double> gaze_saliency(const std::vector<std::vector<std::vector<double>>>& shift_htj);
/// Runs of a shift_gaze step: w = exp(alpha * saliency) for every key of the image, -1 for the question.
std::vector<kernels::KeyRun> gaze_runs(const GazeDetection& detection, std::span<const double> saliency);

}  // namespace headlight::intervention

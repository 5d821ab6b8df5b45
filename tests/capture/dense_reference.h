#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/capture/memory_capture.h"

namespace headlight::capture {

/// Geometry and settings of a one-layer test capture.
struct TestShape {
  std::string name = {};
  std::int64_t num_rows = 4;
  int num_heads = 1, num_kv_heads = 1, head_dim = 4;
  bool causal = true;
  std::int64_t window = 0, first_key = 0;
  float scale = 1.0f, soft_cap = 0.0f;
  std::vector<float> null_logit_h = {};
  std::int64_t num_prompt_tokens = -1;  ///< -1: all rows
  int sink_size = 4, local_window = 256, tail_rows = 32;
};

/// Attention and every statistic of one layer, straight from the formulas on full matrices in float64.
struct DenseReference {
  explicit DenseReference(TestShape shape_);

  TestShape shape;
  std::vector<float> q_hid, k_gjd;
  std::vector<double> attn_hij, score_absmax_hi;  ///< filled by compute()
  std::vector<double> lse, entropy, pmax, first, sink, local, dist1, dist2, off0, off1, null_mass;  ///< [H][N]
  std::vector<std::int64_t> jmax;
  std::vector<double> received, received_tail;  ///< [H][N]

  void fill_random(unsigned seed, float magnitude);
  void compute();
  bool visible(std::int64_t i, std::int64_t j) const;
  double attn(int h, std::int64_t i, std::int64_t j) const;
  const std::vector<double>& values(std::string_view id) const;

 private:
  void compute_row(int h, std::int64_t i);
};

/// What the sink should be told about such a run; level, chosen heads, rows and overview as in `plan`
/// (layers and an empty heads_lh are filled in).
void write_capture(const DenseReference& reference, CapturePlan plan, MemoryCapture& capture);

/// One causal head of four rows with A = [1], [.6 .4], [.5 .2 .3], [.7 .1 .1 .1]: k = identity, q = ln A.
DenseReference e4_reference();

}  // namespace headlight::capture

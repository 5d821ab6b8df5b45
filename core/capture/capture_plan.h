#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace headlight::capture {

enum class CaptureLevel {
  summary,  ///< tokens, statistics, overview, hidden-state facts, logits
  replay,   ///< + q, k, v: every tile of every recorded head can be recomputed exactly
  maps,     ///< + dense maps of the recorded heads
};
std::string_view to_string(CaptureLevel level);

enum class LogitsKept { none, last, all };

/// What to record. Resolved against a model: explicit layers and heads.
struct CapturePlan {
  CaptureLevel level = CaptureLevel::replay;
  std::vector<int> layers;  ///< model layer numbers, ascending; recorded layers
  std::vector<std::uint8_t>
      heads_lh;                ///< [layers.size()][H] 1 = keep q (and maps) of this head; statistics cover all heads
  std::int64_t row_begin = 0;  ///< query rows kept for replay, half-open; row_end = -1: to the last row
  std::int64_t row_end = -1;
  DType replay_dtype = DType::f32;
  bool store_values = true;  ///< v beside q, k
  bool overview = true;      ///< block maps (max as log code, sum as f2)
  LogitsKept logits = LogitsKept::last;
  bool hidden_states = false;  ///< hidden/x [L+1, N, d]
  int sink_size = 4;
  int local_window = 256;
  int tail_rows = 32;  ///< observation window of received_tail: the last rows of the prompt
  int topk = 32;       ///< entries kept per chosen row
  int topk_rows = 64;  ///< half of them the last rows, half evenly spaced

  bool operator==(const CapturePlan&) const = default;
};

/// A plan that records every head of every layer.
CapturePlan plan_of_all_heads(int num_layers, int num_heads, CaptureLevel level);

/// Edge of an overview block: next power of two of ceil(N / 256), at least 1.
std::int64_t overview_block_edge(std::int64_t num_rows);

/// Rows whose top-k entries are stored, ascending, for a prompt of `num_rows`.
std::vector<std::int64_t> topk_row_positions(const CapturePlan& plan, std::int64_t num_rows);

/// JSON stored with every record (`capture_plan_json`).
std::string to_json_text(const CapturePlan& plan);

}  // namespace headlight::capture

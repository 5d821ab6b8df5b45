#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/capture/capture_sink.h"

namespace headlight::testing_support {

/// A made-up run whose attention is real: random q and k, exact softmax and statistics, so that replay, derived values
/// and every kind of data can be checked. The same options give the same numbers.
struct SyntheticRun {
  std::uint32_t seed = 1;
  int num_layers = 4;                ///< of the model
  std::vector<int> layers = {1, 3};  ///< recorded
  int num_heads = 4, num_kv_heads = 2, head_dim = 8, hidden_size = 16, vocab_size = 40;
  std::int64_t prompt_tokens = 37, generated_tokens = 0;
  std::int64_t announced_tokens = -1;  ///< generated tokens announced; -1 = generated_tokens
  std::int64_t num_records = 1;
  capture::CaptureLevel level = capture::CaptureLevel::replay;
  DType replay_dtype = DType::f32;
  bool store_values = true, overview = true, hidden_states = false, some_heads_only = false;
  std::int64_t row_begin = 0, row_end = -1;
  capture::LogitsKept logits = capture::LogitsKept::last;
  bool causal = true;
  std::int64_t window = 0;
  float soft_cap = 0.0f;
  bool null_logit = false;
  std::int64_t first_key = 0;
  int num_segments = 2;
  std::string segment_name = "part";  ///< followed by its number
  /// Called after every flush with the number of rows that are complete in some layer by then.
  std::function<void(std::int64_t rows)> after_flush;

  capture::CaptureHeader header() const;
  capture::RecordHeader record(std::int64_t r) const;
  /// begin, all records, finish(complete).
  void write(capture::CaptureSink& sink, bool complete = true) const;
  /// One record; begin() was called.
  void write_record(capture::CaptureSink& sink, std::int64_t r) const;
  /// Rows in all: P + T - 1.
  std::int64_t num_rows() const { return prompt_tokens + std::max<std::int64_t>(0, generated_tokens - 1); }
};

}  // namespace headlight::testing_support

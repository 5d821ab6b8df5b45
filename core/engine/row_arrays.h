#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "core/capture/capture_sink.h"
#include "kernels/attention.h"

namespace headlight::engine {

/// Row statistics of one layer, [H][stride] each, in one allocation.
class RowArrays {
 public:
  RowArrays(int num_heads, std::int64_t stride, int num_groups);

  /// Where the kernel writes rows that begin at `slot`.
  kernels::AttentionStatistics statistics(std::int64_t slot);
  /// The same arrays for the sink, from slot 0.
  void describe(capture::LayerRows& rows) const;

  /// Copies row 0 of `from` to `slot`.
  void put(std::int64_t slot, const capture::LayerRows& from);

  static std::int64_t bytes(int num_heads, std::int64_t stride, int num_groups);

 private:
  float* array(int index) { return values_.data() + index * plane_; }
  const float* array(int index) const { return values_.data() + index * plane_; }

  std::int64_t num_heads_, stride_, plane_;
  int num_groups_;
  Buffer<float> values_;
  Buffer<std::int32_t> jmax_;
};

/// Column statistics of one layer, accumulated over the prompt and generated rows.
struct ColumnArrays {
  ColumnArrays(int num_heads, std::int64_t num_keys, std::int64_t block_count);
  void clear(ThreadPool& pool);
  void attach(kernels::AttentionStatistics& statistics);

  std::int64_t num_heads, num_keys, block_count;
  Buffer<float> received, received_tail, block_sum, block_max;
};

}  // namespace headlight::engine

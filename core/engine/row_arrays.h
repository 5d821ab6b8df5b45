#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "core/capture/capture_sink.h"
#include "kernels/attention.h"

namespace headlight::engine {

/// How the row statistics of one layer lie in one piece of memory, [H][stride] each.
struct RowLayout {
  int num_heads = 0;
  std::int64_t stride = 0;
  int num_groups = 0;

  std::int64_t size() const;  ///< elements of 4 bytes
  /// Where the kernel writes rows that begin at `slot`.
  kernels::AttentionStatistics statistics(float* memory, std::int64_t slot) const;
  /// The same arrays for a sink, from slot 0.
  void describe(const float* memory, capture::LayerRows& rows) const;
  /// Copies row 0 of `from` to `slot`.
  void put(float* memory, std::int64_t slot, const capture::LayerRows& from) const;

 private:
  std::int64_t plane() const { return num_heads * stride; }
};

/// How the column statistics of one layer lie in one piece of memory.
struct ColumnLayout {
  int num_heads = 0;
  std::int64_t num_keys = 0, block_count = 0;

  std::int64_t size() const { return 2 * num_heads * (num_keys + block_count * block_count); }  ///< floats
  void attach(float* memory, kernels::AttentionStatistics& statistics) const;
};

/// Column statistics of one layer, accumulated over the prompt and generated rows.
class ColumnArrays {
 public:
  explicit ColumnArrays(const ColumnLayout& layout)
      : layout_(layout), values_(static_cast<std::size_t>(layout.size())) {}

  const ColumnLayout& layout() const { return layout_; }
  void clear(ThreadPool& pool);
  void attach(kernels::AttentionStatistics& statistics) { layout_.attach(values_.data(), statistics); }
  /// Adds statistics of other rows, laid out as these: sums to sums, maxima to maxima.
  void merge(ThreadPool& pool, const float* other);
  /// The arrays for a sink, but for the layer and the edge of the blocks.
  capture::LayerColumns describe();

 private:
  ColumnLayout layout_;
  Buffer<float> values_;
};

}  // namespace headlight::engine

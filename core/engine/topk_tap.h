#pragma once

#include <vector>

#include "core/capture/capture_sink.h"
#include "kernels/attention.h"

namespace headlight::engine {

/// Keeps the largest entries of chosen rows of every head of a layer.
class TopkTap final : public kernels::RowTap {
 public:
  /// @param positions  ascending query rows
  TopkTap(std::vector<std::int64_t> positions, int num_heads, int entries);

  bool collects(const std::vector<std::int64_t>& positions, int entries) const {
    return positions == positions_ && static_cast<std::size_t>(entries) == entries_;
  }
  bool wants(int head, std::int64_t position) const override;
  void row(int head, std::int64_t position, kernels::KeyRange keys, std::span<const float> attn_j) override;

  /// Rows of the layer that just ran, by head, then query; valid until the next layer.
  const std::vector<capture::TopkRow>& rows(int layer);

 private:
  std::int64_t index_of(std::int64_t position) const;  ///< -1 = not chosen

  std::vector<std::int64_t> positions_;
  std::size_t entries_;
  std::vector<capture::TopkRow> rows_;  // [H][positions]
};

}  // namespace headlight::engine

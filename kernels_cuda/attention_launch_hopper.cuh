// What a launch of the Hopper tier hands to its blocks: the parameters, and where tiles lie in device memory.

#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels_cuda/attention_launch.cuh"
#include "kernels_cuda/ptx.cuh"
#include "kernels_cuda/tile_map.h"

namespace headlight::cuda {

struct HeadTile {
  int head, tile;
};

/// Which tile a block takes. Within a section of heads, whose shared operands fit the L2 cache together, the first
/// tiles of all heads come before the second ones: the longest begin first, and the last blocks to run are short.
struct HeadOrder {
  int tiles, heads, section;

  __device__ HeadTile of_block() const {
    const int block = static_cast<int>(blockIdx.x), first = block / (section * tiles) * section;
    const int within = block - first * tiles, count = min(section, heads - first);
    return {first + within % count, within / count};
  }
};

/// @param rows, tile_rows  that blocks share among them. @param bytes_per_head  that all blocks of a head read
inline HeadOrder head_order(int rows, int tile_rows, int heads, std::int64_t bytes_per_head) {
  constexpr std::int64_t kCache = 24 << 20;
  const auto section = std::clamp<std::int64_t>(kCache / std::max<std::int64_t>(bytes_per_head, 1), 1, heads);
  return {(rows + tile_rows - 1) / tile_rows, heads, static_cast<int>(section)};
}

struct HopperParams {
  AttentionParams attention;
  CUtensorMap q, k, v;
  HeadOrder order;
};

template <class T>
constexpr DType type_of() {
  return std::is_same_v<T, Bf16> ? DType::bf16 : DType::f16;
}

/// @param queries, keys  rows of a tile
inline HopperParams hopper_params(const AttentionParams& p, DType dtype, int queries, int keys) {
  const auto keys_or_values = [&](const void* data) {
    return tile_map(dtype, {data, p.head_dim, p.num_keys, p.num_kv_heads, p.kv_row_stride, p.kv_stride}, keys);
  };
  return {p,
          tile_map(dtype, {p.q, p.head_dim, p.num_queries, p.num_heads, p.q_stride, p.head_dim}, queries),
          keys_or_values(p.k),
          keys_or_values(p.v),
          {}};
}

inline void launch_hopper(const char* name, void (*kernel)(HopperParams), HopperParams params, const HeadOrder& order,
                          int threads, std::size_t shared_bytes, cudaStream_t stream) {
  params.order = order;
  launch(name, kernel, params, dim3(static_cast<unsigned>(order.tiles * order.heads)), threads, shared_bytes, stream);
}

}  // namespace headlight::cuda

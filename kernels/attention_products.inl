// The two matrix products of attention on register tiles of kTileRows rows x kTileVectors vectors. Each element is one
// chain of multiply-adds in ascending order whatever tile it falls into, so results do not depend on the tiling.

#pragma once

#include "kernels/attention_tiers.h"
#include "kernels/attention_vectors.inl"

namespace headlight::kernels {
namespace {

static_assert(kLanes == kAttentionLanes);

#if defined(__AVX512F__)
constexpr int kTileRows = 6, kTileVectors = 4;  // 24 accumulators of 32 registers
#elif defined(__AVX2__)
constexpr int kTileRows = 6, kTileVectors = 1;  // 12 accumulators of 16 registers
#else
constexpr int kTileRows = 2, kTileVectors = 1;  // 8 accumulators of 16 registers
#endif
constexpr std::int64_t kChain = 64;  // products per chain of a score: keeps the rounding error of long heads small
constexpr std::int64_t kValueBlock = 128;  // keys per chain of the output; 32 KB of values at head_dim 64

HEADLIGHT_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}
HEADLIGHT_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) {
  return a > b ? a : b;
}
HEADLIGHT_INLINE std::int64_t lanes_down(std::int64_t j) {
  return j & ~std::int64_t{kLanes - 1};
}
HEADLIGHT_INLINE std::int64_t lanes_up(std::int64_t j) {
  return lanes_down(j + kLanes - 1);
}

template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

/// f(Constant<n>) for 1 <= n <= kMax.
template <int kMax, class F>
HEADLIGHT_INLINE void with_constant(std::int64_t n, const F& f) {
  if constexpr (kMax > 1) {
    if (n < kMax) return with_constant<kMax - 1>(n, f);
  }
  f(Constant<kMax>{});
}

/// sums[r][v] += sum_k a[r][k] b[k][v], k ascending.
template <int kRows, int kVectors>
HEADLIGHT_INLINE void multiply_tile(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_vector,
                                    std::int64_t b_step, std::int64_t count, F16 (&sums)[kRows][kVectors]) {
#pragma GCC unroll 2
  for (std::int64_t k = 0; k < count; ++k, b += b_step) {
    F16 column[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) column[v] = load(b + v * b_vector);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const F16 x = splat(a[r * a_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = multiply_add(x, column[v], sums[r][v]);
    }
  }
}

template <int kRows, int kVectors>
HEADLIGHT_INLINE void clear(F16 (&sums)[kRows][kVectors]) {
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = splat(0.0f);
}

/// out[r][0, 16 kVectors) = <q_r, key> for the keys of kVectors packed groups.
template <int kRows, int kVectors>
void score_block(const float* q, std::int64_t dim, const float* keys, float* out, std::int64_t stride) {
  for (std::int64_t d = 0; d < dim; d += kChain) {
    F16 sums[kRows][kVectors];
    clear(sums);
    multiply_tile<kRows, kVectors>(q + d, dim, keys + d * kLanes, dim * kLanes, kLanes, smaller(kChain, dim - d), sums);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        float* const at = out + r * stride + v * kLanes;
        store(at, d == 0 ? sums[r][v] : add(load(at), sums[r][v]));
      }
  }
}

/// Keys [from, to) that only some of the rows see: they must not touch the others, not even as 0 * NaN.
template <int kRows, int kVectors>
HEADLIGHT_INLINE void multiply_ragged(const float* p, std::int64_t stride, const float* v, std::int64_t v_stride,
                                      std::int64_t first, std::int64_t from, std::int64_t to, const AttentionRow* rows,
                                      F16 (&sums)[kRows][kVectors]) {
  for (std::int64_t j = from; j < to; ++j) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      if (j < rows[r].begin || j >= rows[r].end) continue;
      const F16 x = splat(p[r * stride + j - first]);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c)
        sums[r][c] = multiply_add(x, load(v + (j - first) * v_stride + c * kLanes), sums[r][c]);
    }
  }
}

/// out[r][:] += sum_j p[r][j] v[j][:] over the keys [first, last) that row r sees; p and v start at key `first`.
/// `fresh`: out holds nothing yet.
template <int kRows, int kVectors>
void value_block(const float* p, std::int64_t stride, const float* v, std::int64_t v_stride, std::int64_t first,
                 std::int64_t last, const AttentionRow* rows, float* out, std::int64_t out_stride, bool fresh) {
  std::int64_t begin = first, end = last;  // what all rows see; rows that see nothing are overwritten with 0 later
  for (int r = 0; r < kRows; ++r) {
    if (rows[r].begin >= rows[r].end) continue;
    begin = larger(begin, rows[r].begin);
    end = smaller(end, rows[r].end);
  }
  if (begin > end) begin = end = last;
  F16 sums[kRows][kVectors];
  clear(sums);
  multiply_ragged<kRows, kVectors>(p, stride, v, v_stride, first, first, begin, rows, sums);
  multiply_tile<kRows, kVectors>(p + (begin - first), stride, v + (begin - first) * v_stride, kLanes, v_stride,
                                 end - begin, sums);
  multiply_ragged<kRows, kVectors>(p, stride, v, v_stride, first, end, last, rows, sums);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) {
      float* const at = out + r * out_stride + c * kLanes;
      store(at, fresh ? sums[r][c] : add(load(at), sums[r][c]));
    }
}

/// Union of what rows [0, count) see; empty when none sees anything.
HEADLIGHT_INLINE void visible_union(const AttentionRow* rows, std::int64_t count, std::int64_t& begin,
                                    std::int64_t& end) {
  begin = INT64_MAX;
  end = 0;
  for (std::int64_t r = 0; r < count; ++r) {
    if (rows[r].begin >= rows[r].end) continue;
    begin = smaller(begin, rows[r].begin);
    end = larger(end, rows[r].end);
  }
  if (begin >= end) begin = end = 0;
}

/// What each register tile of kTileRows rows sees.
struct TileRanges {
  KeyRange tile[kAttentionTileRows / kTileRows + 1];

  TileRanges(const AttentionRow* rows, std::int64_t num_rows) {
    for (std::int64_t r = 0; r < num_rows; r += kTileRows) {
      KeyRange& keys = tile[r / kTileRows];
      visible_union(rows + r, smaller(kTileRows, num_rows - r), keys.begin, keys.end);
    }
  }
};

/// Scores of all rows of a tile against the keys they see; column 0 of `scores` is key `base` (a multiple of 16).
void multiply_scores(const float* q, std::int64_t dim, const AttentionRow* rows, std::int64_t num_rows,
                     const float* k_packed, std::int64_t base, std::int64_t last, float* scores, std::int64_t stride) {
  constexpr std::int64_t kPanel = kTileVectors * kLanes;
  const TileRanges ranges(rows, num_rows);
  for (std::int64_t key = base; key < last; key += kPanel) {
    for (std::int64_t r = 0; r < num_rows; r += kTileRows) {
      const KeyRange& keys = ranges.tile[r / kTileRows];
      const std::int64_t from = larger(key, lanes_down(keys.begin)), to = smaller(key + kPanel, lanes_up(keys.end));
      if (from >= to) continue;
      with_constant<kTileRows>(smaller(kTileRows, num_rows - r), [&](auto tile_rows) {
        with_constant<kTileVectors>((to - from) / kLanes, [&](auto vectors) {
          score_block<decltype(tile_rows)::value, decltype(vectors)::value>(
              q + r * dim, dim, k_packed + from * dim, scores + r * stride + (from - base), stride);
        });
      });
    }
  }
}

/// out[row][dim_padded] = sum_j p[row][j] v[j], not yet divided by the row's sum. Rows that see nothing stay as they
/// are.
void multiply_values(const float* p, std::int64_t stride, std::int64_t base, std::int64_t last,
                     const AttentionRow* rows, std::int64_t num_rows, const float* v_jd, std::int64_t v_stride,
                     std::int64_t dim_padded, float* out) {
  const std::int64_t vectors = dim_padded / kLanes, strips = (vectors + kTileVectors - 1) / kTileVectors;
  const TileRanges ranges(rows, num_rows);
  for (std::int64_t block = base / kValueBlock * kValueBlock; block < last; block += kValueBlock) {
    for (std::int64_t r = 0; r < num_rows; r += kTileRows) {
      const KeyRange& keys = ranges.tile[r / kTileRows];
      const std::int64_t from = larger(block, keys.begin), to = smaller(block + kValueBlock, keys.end);
      if (from >= to) continue;
      for (std::int64_t s = 0; s < strips; ++s) {
        const std::int64_t strip = s * vectors / strips, next = (s + 1) * vectors / strips;
        with_constant<kTileRows>(smaller(kTileRows, num_rows - r), [&](auto tile_rows) {
          with_constant<kTileVectors>(next - strip, [&](auto width) {
            value_block<decltype(tile_rows)::value, decltype(width)::value>(
                p + r * stride + (from - base), stride, v_jd + from * v_stride + strip * kLanes, v_stride, from, to,
                rows + r, out + r * dim_padded + strip * kLanes, dim_padded, from == keys.begin);
          });
        });
      }
    }
  }
}

}  // namespace
}  // namespace headlight::kernels

// Softmax of a tile of scores, and everything that is measured along the rows, on tensor-core accumulators: a thread
// holds two rows (r = 0, 1) and 2 of every 8 columns. Shared by the tiers.
//
// All exponents are base 2, relative to a reference m of the row that is at most 8 below its running maximum. Every sum
// is a share of one thread until finish(). Recurrences of "FlashAttention-2: Faster Attention with Better Parallelism
// and Work Partitioning", extended by T = sum_j 2^z z with z = s - m:  T <- alpha (T + delta l) + new terms, so that
// entropy = ln 2 (log2 l - T / l).

#pragma once

#include "kernels_cuda/attention_params.h"
#include "kernels_cuda/ptx.cuh"

namespace headlight::cuda {

constexpr float kNegativeInfinity = -__builtin_huge_valf();
constexpr float kHeadroom = 8.0f;  // base 2

/// Where a tile of scores lies.
struct TilePlace {
  int key;              ///< first key
  int position;         ///< absolute position of the thread's row 0; row 1 is `position + 8`
  int lowest, highest;  ///< positions of the rows of this warp
};

template <int kKeys, bool kStatistics>
class RowStatistics {
 public:
  static constexpr int kGroups8 = kKeys / 8;
  using Scores = float[kGroups8][4];

  /// Scores become exponentials; the output must be multiplied by alpha[r] before the tile is added to it.
  /// @return whether some alpha of this warp differs from 1
  /// @param group_sums  shared memory, element (g, row r of this thread's quad) at [g * group_stride + 8 r]
  __device__ __forceinline__ bool add_tile(const AttentionParams& p, const TilePlace& place, Scores& s,
                                           float (&alpha)[2], float* group_sums, int group_stride) {
    if (p.cap_log2 != 0.0f) cap_scores(p, s);
    const bool whole = is_whole(p, place);
    if (!whole) mask_scores(p, place, s);
    float top[2] = {kNegativeInfinity, kNegativeInfinity};
#pragma unroll
    for (int n = 0; n < kGroups8; ++n) {
      top[0] = fmaxf(top[0], fmaxf(s[n][0], s[n][1]));
      top[1] = fmaxf(top[1], fmaxf(s[n][2], s[n][3]));
    }
    top[0] = quad_max(top[0]);
    top[1] = quad_max(top[1]);
    if constexpr (kStatistics) {
      const bool rises[2] = {top[0] * p.unit_log2 > largest_[0], top[1] * p.unit_log2 > largest_[1]};
      if (__any_sync(0xffffffffu, rises[0] || rises[1])) find_largest(place, s, top, rises);
    }
    bool moved = false;
    float base[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float highest = top[r] * p.unit_log2;
      largest_[r] = fmaxf(largest_[r], highest);
      // The reference follows the maximum only when it must: exponentials up to 2^8 lose nothing.
      const float reference = highest > m_[r] + kHeadroom ? highest : m_[r];
      base[r] = reference == kNegativeInfinity ? 0.0f : reference;
      alpha[r] = exp2_approx(m_[r] - base[r]);  // 0 for the first keys of a row
      if constexpr (kStatistics) t_[r] += m_[r] == kNegativeInfinity ? 0.0f : (m_[r] - base[r]) * l_[r];
      moved = moved || alpha[r] != 1.0f;
      m_[r] = reference;
    }
    moved = __any_sync(0xffffffffu, moved);
    if (moved) rescale(alpha);
    if constexpr (kStatistics) {
      if (whole && p.causal)
        add_whole(p, place, s, base);
      else
        add_masked(p, place, s, base);
      add_regions(p, place, s);
      if (p.num_groups > 0) add_groups(p, place, s, alpha, group_sums, group_stride);
    } else {
      float sum[2] = {0, 0};
#pragma unroll
      for (int n = 0; n < kGroups8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          s[n][e] = exp2_approx(fmaf(s[n][e], p.unit_log2, -base[e / 2]));
          sum[e / 2] += s[n][e];
        }
      l_[0] += sum[0];
      l_[1] += sum[1];
    }
    return moved;
  }

  /// Factor that makes the output of row r a weighted mean: 1 / l with the learned sink, 0 for a row without keys.
  __device__ __forceinline__ void finish(const AttentionParams& p, int head, float (&inverse)[2]) {
    const float null = p.null_logit != nullptr ? p.null_logit[head] * kLog2e : kNegativeInfinity;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      l_[r] = quad_sum(l_[r]);
      if constexpr (kStatistics) t_[r] = quad_sum(t_[r]);
      null_[r] = 0.0f;
      if (null > kNegativeInfinity && m_[r] > kNegativeInfinity) {
        const float base = fmaxf(m_[r], null), factor = exp2_approx(m_[r] - base);
        if constexpr (kStatistics) t_[r] = factor * (t_[r] + (m_[r] - base) * l_[r]);
        null_[r] = exp2_approx(null - base);
        l_[r] = factor * l_[r] + null_[r];
        if constexpr (kStatistics) t_[r] += null_[r] * (null - base);
        m_[r] = base;
        factor_[r] = factor;
      }
      inverse[r] = empty(r) ? 0.0f : factor_[r] / l_[r];
    }
  }

  /// After finish(). @param row  row 0 of the thread in the call; @param lane_in_quad  0 writes
  __device__ __forceinline__ void write(const AttentionParams& p, int head, int row, int lane_in_quad,
                                        const float (&inverse)[2], const float* group_sums, int group_stride) {
    if constexpr (kStatistics) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float mass[] = {quad_sum(first_[r]), quad_sum(sink_[r]), quad_sum(local_[r]), quad_sum(dist1_[r]),
                              quad_sum(dist2_[r]), quad_sum(off0_[r]), quad_sum(off1_[r])};
        const int i = row + 8 * r;
        if (lane_in_quad != 0 || i >= p.num_queries) continue;
        const std::int64_t at = head * p.to.row_stride + i;
        const bool empty = this->empty(r);
        const float log2_l = log2f(l_[r]);
        p.to.lse_hi[at] = empty ? kNegativeInfinity : kLn2 * (m_[r] + log2_l);
        p.to.entropy_hi[at] = empty ? 0.0f : kLn2 * (log2_l - t_[r] / l_[r]);
        p.to.pmax_hi[at] = empty ? 0.0f : exp2f(largest_[r] - m_[r]) / l_[r];
        p.to.jmax_hi[at] = jmax_[r];
        float* const to[] = {p.to.first_hi, p.to.sink_hi, p.to.local_hi, p.to.dist1_hi,
                             p.to.dist2_hi, p.to.off0_hi, p.to.off1_hi};
#pragma unroll
        for (int k = 0; k < 7; ++k) to[k][at] = empty ? 0.0f : mass[k] * inverse[r];
        p.to.null_mass_hi[at] = empty ? 0.0f : null_[r] / l_[r];
        for (int g = 0; g < p.num_groups; ++g)
          p.to.group_mass_hig[at * p.num_groups + g] = empty ? 0.0f : group_sums[g * group_stride + 8 * r] * inverse[r];
      }
    }
  }

 private:
  /// No key was visible. A maximum passes over NaN, so a row whose scores are all NaN has no reference either, but a
  /// sum.
  __device__ __forceinline__ bool empty(int r) const {
    return m_[r] == kNegativeInfinity && l_[r] == 0.0f;
  }

  // Of the thread with lane % 4 == 0.
  __host__ __device__ static constexpr int column(int n, int e) {
    return 8 * n + (e & 1);
  }
  __device__ __forceinline__ static int first_column() {
    return 2 * (threadIdx.x & 3);
  }

  __device__ __forceinline__ static void cap_scores(const AttentionParams& p, Scores& s) {
#pragma unroll
    for (int n = 0; n < kGroups8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) s[n][e] = p.cap_log2 * tanhf(s[n][e] * p.cap_inner);
  }

  /// Every row of the warp sees every key of the tile.
  __device__ __forceinline__ static bool is_whole(const AttentionParams& p, const TilePlace& place) {
    const int last = place.key + kKeys - 1;
    if (last >= p.num_keys || place.key < p.first_key || place.lowest < p.first_key) return false;
    if (p.causal && last > place.lowest) return false;
    if (p.window == 0) return true;
    return place.key > place.highest - p.window && (p.causal || last < place.lowest + p.window);
  }

  __device__ __forceinline__ static void mask_scores(const AttentionParams& p, const TilePlace& place, Scores& s) {
    const TileSpan keys[2] = {p.keys_of(place.position), p.keys_of(place.position + 8)};
    const int key = place.key + first_column();
#pragma unroll
    for (int n = 0; n < kGroups8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (!keys[e / 2].contains(key, column(n, e))) s[n][e] = kNegativeInfinity;
  }

  /// Keys come in ascending order, so a later key must be larger, not equal.
  __device__ __forceinline__ void find_largest(const TilePlace& place, const Scores& s, const float (&top)[2],
                                               const bool (&rises)[2]) {
    constexpr int kChains = kGroups8 / 4;  // searches that do not wait for each other
    int at[2][kChains];
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int chain = 0; chain < kChains; ++chain) {
        at[r][chain] = INT32_MAX;
#pragma unroll
        for (int n = 4 * chain + 3; n >= 4 * chain; --n)
#pragma unroll
          for (int e = 1; e >= 0; --e)
            if (s[n][2 * r + e] == top[r]) at[r][chain] = column(n, e);
      }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      int first = at[r][0];
#pragma unroll
      for (int chain = 1; chain < kChains; ++chain) first = min(first, at[r][chain]);
      first = quad_min(first == INT32_MAX ? INT32_MAX : place.key + first_column() + first);
      if (rises[r]) jmax_[r] = first;
    }
  }

  __device__ __forceinline__ void rescale(const float (&alpha)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      l_[r] *= alpha[r];
      if constexpr (kStatistics)
        for (float* sum : {&t_[r], &first_[r], &sink_[r], &local_[r], &dist1_[r], &dist2_[r], &off0_[r], &off1_[r]})
          *sum *= alpha[r];
    }
  }

  /// A causal tile that all rows see. Distances count from the last key of the tile, so that no term cancels another.
  __device__ __forceinline__ void add_whole(const AttentionParams& p, const TilePlace& place, Scores& s,
                                            const float (&base)[2]) {
    float sum[2] = {0, 0}, sum1[2] = {0, 0}, sum2[2] = {0, 0};
#pragma unroll
    for (int n = 0; n < kGroups8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        constexpr int kLast = kKeys - 1;
        const float back = static_cast<float>(kLast - column(n, e));
        const float z = fmaf(s[n][e], p.unit_log2, -base[e / 2]), w = exp2_approx(z);
        s[n][e] = w;
        sum[e / 2] += w;
        t_[e / 2] = fmaf(w, z, t_[e / 2]);
        sum1[e / 2] = fmaf(w, back, sum1[e / 2]);
        sum2[e / 2] = fmaf(w, back * back, sum2[e / 2]);
      }
    const float shift = static_cast<float>(first_column());
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float ahead = static_cast<float>(place.position + 8 * r - (place.key + kKeys - 1));
      const float one = fmaf(-shift, sum[r], sum1[r]);
      const float two = fmaf(shift * shift, sum[r], fmaf(-2.0f * shift, sum1[r], sum2[r]));
      l_[r] += sum[r];
      dist1_[r] += fmaf(ahead, sum[r], one);
      dist2_[r] += fmaf(ahead * ahead, sum[r], fmaf(2.0f * ahead, one, two));
    }
  }

  __device__ __forceinline__ void add_masked(const AttentionParams& p, const TilePlace& place, Scores& s,
                                             const float (&base)[2]) {
    float sum[2] = {0, 0};  // first by itself, so that l has the same bits as without statistics
#pragma unroll
    for (int n = 0; n < kGroups8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float z = fmaf(s[n][e], p.unit_log2, -base[e / 2]), w = exp2_approx(z);
        s[n][e] = w;
        sum[e / 2] += w;
        if (z != kNegativeInfinity) t_[e / 2] = fmaf(w, z, t_[e / 2]);
        const float d =
            fabsf(static_cast<float>(place.position + 8 * (e / 2) - (place.key + first_column()) - column(n, e)));
        dist1_[e / 2] = fmaf(w, d, dist1_[e / 2]);
        dist2_[e / 2] = fmaf(w * d, d, dist2_[e / 2]);
      }
    l_[0] += sum[0];
    l_[1] += sum[1];
  }

  /// Masses on parts of the keys: most tiles lie in none of them, or wholly in the local window.
  __device__ __forceinline__ void add_regions(const AttentionParams& p, const TilePlace& place, const Scores& s) {
    const int last = place.key + kKeys - 1;
    if (place.key >= p.first_key + max(p.sink_size, 1) && last < place.lowest - max(p.local_window, 1)) return;
    const bool has_sink = place.key < p.first_key + max(p.sink_size, 1);
    const bool has_diagonal = last >= place.lowest - 1 && place.key <= place.highest;
    const bool all_local = p.causal && place.key > place.highest - p.local_window && last <= place.lowest;
    const bool has_local = last > place.lowest - p.local_window && place.key <= place.highest;
    if (has_sink)
      add_where(s, first_column() + place.key, [&](int r, int j, float w) {
        if (j == p.first_key) first_[r] += w;
        if (j < p.first_key + p.sink_size) sink_[r] += w;
      });
    if (has_diagonal)
      add_where(s, first_column() + place.key, [&](int r, int j, float w) {
        if (j == place.position + 8 * r) off0_[r] += w;
        if (j == place.position + 8 * r - 1) off1_[r] += w;
      });
    if (all_local)
      add_where(s, 0, [&](int r, int, float w) { local_[r] += w; });
    else if (has_local)
      add_where(s, first_column() + place.key, [&](int r, int j, float w) {
        const int i = place.position + 8 * r;
        if (j <= i && j > i - p.local_window) local_[r] += w;
      });
  }

  /// The first lane of a quad owns the sums of its rows.
  __device__ __forceinline__ static void add_groups(const AttentionParams& p, const TilePlace& place, const Scores& s,
                                                    const float (&alpha)[2], float* sums, int stride) {
    std::uint32_t present = 0;
    for (int n = 0; n < kGroups8; ++n)
      for (int e = 0; e < 2; ++e) present |= 1u << label(p, place.key + first_column() + column(n, e));
    present = __reduce_or_sync(0xffffffffu, present);
    for (int g = 0; g < p.num_groups; ++g) {
      float mass[2] = {0, 0};
      if ((present >> g & 1) != 0) {
#pragma unroll
        for (int n = 0; n < kGroups8; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e)
            if (label(p, place.key + first_column() + column(n, e)) == g) mass[e / 2] += s[n][e];
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        mass[r] = quad_sum(mass[r]);
        float& sum = sums[g * stride + 8 * r];
        if (first_column() == 0) sum = sum * alpha[r] + mass[r];
      }
    }
  }

  /// Group of a key, 31 = none.
  __device__ __forceinline__ static int label(const AttentionParams& p, int key) {
    const int group = key < p.num_keys ? p.group_of_key[key] : 255;
    return group < p.num_groups ? group : 31;
  }

  template <class Add>
  __device__ __forceinline__ static void add_where(const Scores& s, int key, const Add& add) {
#pragma unroll
    for (int n = 0; n < kGroups8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) add(e / 2, key + column(n, e), s[n][e]);
  }

  float m_[2] = {kNegativeInfinity, kNegativeInfinity}, l_[2] = {0, 0}, factor_[2] = {1, 1};
  float t_[2] = {0, 0}, first_[2] = {0, 0}, sink_[2] = {0, 0}, local_[2] = {0, 0}, dist1_[2] = {0, 0},
        dist2_[2] = {0, 0}, off0_[2] = {0, 0}, off1_[2] = {0, 0}, null_[2] = {0, 0};
  float largest_[2] = {kNegativeInfinity, kNegativeInfinity};  // score, base 2
  int jmax_[2] = {-1, -1};
};

/// Keys that some row at positions [first, last] can see.
__device__ inline TileSpan visible_keys(const AttentionParams& p, int first, int last) {
  TileSpan keys{p.first_key, p.num_keys};
  if (p.window > 0) keys.begin = max(keys.begin, first - p.window + 1);
  if (p.causal) keys.end = min(keys.end, last + 1);
  if (!p.causal && p.window > 0) keys.end = min(keys.end, last + p.window);
  if (last < p.first_key) keys.end = keys.begin;
  return keys;
}

/// Rows `row` and `row + 8` of the output, from the accumulators of this thread.
template <class T, int kDim>
__device__ __forceinline__ void write_output(const AttentionParams& p, int head, int row, int lane_in_quad,
                                             const float (&out)[kDim / 8][4], const float (&inverse)[2]) {
  T* to = static_cast<T*>(p.out) + head * p.head_dim + 2 * lane_in_quad;
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int i = row + 8 * r;
      if (i >= p.num_queries || 8 * n >= p.head_dim) continue;
      // A row without keys is 0, whatever the values hold.
      const bool empty = inverse[r] == 0.0f;
      *reinterpret_cast<std::uint32_t*>(to + i * p.out_stride + 8 * n) =
          empty ? 0u : pack<T>(out[n][2 * r] * inverse[r], out[n][2 * r + 1] * inverse[r]);
    }
}

}  // namespace headlight::cuda

// A single query, after "Flash-Decoding for long-context inference": blocks take pieces of the keys of one KV head, and
// a warp all of its query heads at once; a second kernel joins the pieces. With statistics the scores are kept, one
// number a key, and weighed when lse is known. Every sum has one owner and one order.

#include <algorithm>

#include "kernels_cuda/attention_column_sums.cuh"
#include "kernels_cuda/attention_decode.h"
#include "kernels_cuda/attention_tile.cuh"

namespace headlight::cuda {
namespace {

constexpr int kThreads = 128, kWarps = 4, kTileKeys = 64, kHeads = 16;  // of a KV head at most
constexpr int kSumThreads = 256;
constexpr int kMostSplits = 64, kBlocksWanted = 384;
constexpr float kNone = -__builtin_huge_valf();

/// Sums over a piece of the keys of a head.
enum Sum { kEntropy, kFirst, kSink, kLocal, kDist1, kDist2, kOff0, kOff1, kGroup0, kSums = kGroup0 + kMaxGroups };
struct Piece {
  float sum[kSums];
  float top;  ///< largest score, base 2
  int at;     ///< its smallest key
};

struct Scratch {
  float *m, *l, *out;  ///< [splits][H], [splits][H], [splits][H][D]: of a split, relative to 2^m
  float* lse_log2;     ///< [H]
  float* scores;       ///< [H][num_keys] base 2; null without statistics
  Piece* pieces;       ///< [H][pieces]
  int splits, split_keys, num_pieces, piece_keys;
};

Scratch scratch_for(const AttentionParams& p, bool statistics, void* memory) {
  const int group = p.num_heads / p.num_kv_heads, tiles = (p.num_keys + kTileKeys - 1) / kTileKeys;
  const int wanted = std::clamp(kBlocksWanted / std::max(1, p.num_heads / group), 1, kMostSplits);
  Scratch s{};
  s.split_keys = (tiles + wanted - 1) / wanted * kTileKeys;
  s.splits = (p.num_keys + s.split_keys - 1) / s.split_keys;
  s.piece_keys = std::max(kSumThreads, p.block_edge);
  s.num_pieces = (p.num_keys + s.piece_keys - 1) / s.piece_keys;
  auto* at = static_cast<float*>(memory);
  const auto take = [&](std::int64_t count) {
    float* from = at;
    at += count;
    return from;
  };
  const std::int64_t heads = p.num_heads;
  s.m = take(s.splits * heads);
  s.l = take(s.splits * heads);
  s.out = take(s.splits * heads * p.head_dim);
  s.lse_log2 = take(heads);
  if (!statistics) return s;
  s.scores = take(heads * p.num_keys);
  s.pieces = reinterpret_cast<Piece*>(take(heads * s.num_pieces * static_cast<std::int64_t>(sizeof(Piece) / 4)));
  return s;
}

__device__ __forceinline__ float factor(float m, float base) {
  return m == kNone ? 0.0f : exp2_approx(m - base);
}

/// Keys of one split of one KV head: a warp takes 16 keys of every tile.
template <class T, int kDim>
__global__ void __launch_bounds__(kThreads) decode_split_kernel(const AttentionParams p, const Scratch to) {
  constexpr int kTile = kTileKeys * kTileStride<kDim>;
  extern __shared__ uint4 shared[];
  T* k_tile = reinterpret_cast<T*>(shared);
  T* v_tile = k_tile + 2 * kTile;
  const int group = p.num_heads / p.num_kv_heads, first_head = static_cast<int>(blockIdx.y) * group;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const TileSpan visible = p.keys_of(p.query_start);
  const int begin = max(visible.begin / kTileKeys * kTileKeys, static_cast<int>(blockIdx.x) * to.split_keys);
  const int end = min(visible.end, (static_cast<int>(blockIdx.x) + 1) * to.split_keys);
  const T* k = static_cast<const T*>(p.k) + blockIdx.y * p.kv_stride;
  const T* v = static_cast<const T*>(p.v) + blockIdx.y * p.kv_stride;
  std::uint32_t q[kDim / 16][4];
  load_left<T, kDim>(q, static_cast<const T*>(p.q) + first_head * p.head_dim, p.head_dim, 0, group, p.head_dim);
  const auto load = [&](int key, int stage) {
    load_tile<T, kTileKeys, kDim, kThreads>(k_tile + stage * kTile, k, p.kv_row_stride, key, p.num_keys, p.head_dim);
    load_tile<T, kTileKeys, kDim, kThreads>(v_tile + stage * kTile, v, p.kv_row_stride, key, p.num_keys, p.head_dim);
    commit_copies();
  };
  float out[kDim / 8][4] = {}, m[2] = {kNone, kNone}, l[2] = {0, 0};
  int stage = 0;
  if (begin < end) load(begin, 0);
  for (int key = begin; key < end; key += kTileKeys, stage ^= 1) {
    const bool more = key + kTileKeys < end;
    if (more) load(key + kTileKeys, stage ^ 1);
    more ? wait_copies<1>() : wait_copies<0>();
    __syncthreads();
    float s[2][4];
    multiply_transposed<T, kDim, 16>(s, q, k_tile + stage * kTile + 16 * warp * kTileStride<kDim>);
    float top[2] = {kNone, kNone};
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int j = key + 16 * warp + 8 * n + 2 * (lane & 3) + (e & 1), row = lane / 4 + 8 * (e / 2);
        float z = p.cap_log2 == 0.0f ? s[n][e] * p.unit_log2 : p.cap_log2 * tanhf(s[n][e] * p.cap_inner);
        if (j < visible.begin || j >= visible.end) z = kNone;
        if (to.scores != nullptr && row < group && j < p.num_keys)
          to.scores[static_cast<std::int64_t>(first_head + row) * p.num_keys + j] = z;
        s[n][e] = z;
        top[e / 2] = fmaxf(top[e / 2], z);
      }
    float alpha[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float highest = fmaxf(m[r], quad_max(top[r])), base = highest == kNone ? 0.0f : highest;
      alpha[r] = factor(m[r], base);
      m[r] = highest;
      l[r] *= alpha[r];
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; ++e) {
          s[n][e] = exp2_approx(s[n][e] - base);
          l[r] += s[n][e];
        }
    }
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) out[n][e] *= alpha[e / 2];
    add_product<T, kDim, 16>(out, s, v_tile + stage * kTile + 16 * warp * kTileStride<kDim>);
    __syncthreads();
  }
  // The warps' shares meet in the memory of the tiles.
  float* all_m = reinterpret_cast<float*>(shared);
  float* all_l = all_m + kWarps * kHeads;
  float* all_out = all_l + kWarps * kHeads;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = warp * kHeads + lane / 4 + 8 * r;
    l[r] = quad_sum(l[r]);
    if (lane % 4 == 0) {
      all_m[row] = m[r];
      all_l[row] = l[r];
    }
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
      *reinterpret_cast<float2*>(all_out + row * kDim + 8 * n + 2 * (lane & 3)) =
          make_float2(out[n][2 * r], out[n][2 * r + 1]);
  }
  __syncthreads();
  for (int c = threadIdx.x; c < group * kDim; c += kThreads) {
    const int row = c / kDim, d = c % kDim;
    float base = kNone, sum = 0.0f, value = 0.0f;
    for (int w = 0; w < kWarps; ++w) base = fmaxf(base, all_m[w * kHeads + row]);
    for (int w = 0; w < kWarps; ++w) {
      const float f = factor(all_m[w * kHeads + row], base == kNone ? 0.0f : base);
      sum += f * all_l[w * kHeads + row];
      value += f * all_out[(w * kHeads + row) * kDim + d];
    }
    const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * p.num_heads + first_head + row;
    if (d < p.head_dim) to.out[at * p.head_dim + d] = value;
    if (d == 0) {
      to.m[at] = base;
      to.l[at] = sum;
    }
  }
}

/// One block per head: joins the splits. lse is NaN where a score was, -infinity without keys.
template <class T>
__global__ void __launch_bounds__(kThreads) decode_join_kernel(const AttentionParams p, const Scratch from) {
  const int head = blockIdx.x;
  const float null = p.null_logit != nullptr ? p.null_logit[head] * kLog2e : kNone;
  float base = kNone, sum = 0.0f;
  for (int split = 0; split < from.splits; ++split) base = fmaxf(base, from.m[split * p.num_heads + head]);
  const bool has_keys = base != kNone;
  if (has_keys) base = fmaxf(base, null);
  for (int split = 0; split < from.splits; ++split)
    sum += factor(from.m[split * p.num_heads + head], base) * from.l[split * p.num_heads + head];
  const bool empty = !has_keys && sum == 0.0f;
  if (has_keys) sum += factor(null, base);
  for (int d = threadIdx.x; d < p.head_dim; d += kThreads) {
    float value = 0.0f;
    for (int split = 0; split < from.splits; ++split) {
      const std::int64_t at = static_cast<std::int64_t>(split) * p.num_heads + head;
      value += factor(from.m[at], base) * from.out[at * p.head_dim + d];
    }
    static_cast<T*>(p.out)[head * p.head_dim + d] = narrowed<T>(empty ? 0.0f : value / sum);
  }
  if (threadIdx.x == 0) from.lse_log2[head] = empty ? kNone : base + log2f(sum);
}

/// Weights of one piece of the keys of a head: its sums, columns, and blocks.
__global__ void __launch_bounds__(kSumThreads) decode_sums_kernel(const AttentionParams p, const Scratch s) {
  __shared__ float shared[kSumThreads / 32], weights[kSumThreads];
  __shared__ int shared_int[kSumThreads / 32];
  const int head = blockIdx.y, position = p.query_start, first = static_cast<int>(blockIdx.x) * s.piece_keys;
  const int end = min(first + s.piece_keys, p.num_keys);
  const TileSpan visible = p.keys_of(position);
  const float lse = s.lse_log2[head];
  const bool in_tail = position >= p.tail_begin && position < p.tail_end;
  float sum[kSums] = {}, top = kNone, block_sum = 0.0f;
  int at = INT32_MAX, block_top = 0;
  for (int from = first; from < end; from += kSumThreads) {
    const int j = from + static_cast<int>(threadIdx.x);
    float w = 0.0f;
    if (j < end && j >= visible.begin && j < visible.end) {
      const float z = s.scores[static_cast<std::int64_t>(head) * p.num_keys + j];
      const float d = fabsf(static_cast<float>(position - j));
      w = exp2f(z - lse);
      if (z > top) {
        top = z;
        at = j;
      }
      sum[kEntropy] += z == kNone ? 0.0f : w * (lse - z);
      if (j == p.first_key) sum[kFirst] += w;
      if (j < p.first_key + p.sink_size) sum[kSink] += w;
      if (j <= position && j > position - p.local_window) sum[kLocal] += w;
      sum[kDist1] = fmaf(w, d, sum[kDist1]);
      sum[kDist2] = fmaf(w * d, d, sum[kDist2]);
      if (j == position) sum[kOff0] += w;
      if (j == position - 1) sum[kOff1] += w;
      const int label = p.num_groups > 0 ? p.group_of_key[j] : kMaxGroups;
#pragma unroll
      for (int g = 0; g < kMaxGroups; ++g) sum[kGroup0 + g] += label == g ? w : 0.0f;
      p.to.received_hj[head * p.to.col_stride + j] += w;
      if (in_tail) p.to.received_tail_hj[head * p.to.col_stride + j] += w;
    }
    block_sum += w;
    block_top = max(block_top, bits_of(w));
    weights[threadIdx.x] = w;
  }
  if (p.block_edge > 0) {
    __syncthreads();
    const int edge = p.block_edge, row = position / edge;
    const auto block_at = [&](int column) {
      return (static_cast<std::int64_t>(head) * p.to.block_count + row) * p.to.block_count + column;
    };
    if (edge >= kSumThreads) {  // the piece is the block
      block_sum = block_reduce<kSumThreads>(block_sum, Add{}, shared);
      block_top = block_reduce<kSumThreads>(block_top, MaxBits{}, shared_int);
      if (threadIdx.x == 0)
        add_block(p.to.block_sum + block_at(first / edge), p.to.block_max + block_at(first / edge), block_sum,
                  block_top);
    } else if (const int column = first / edge + static_cast<int>(threadIdx.x);
               threadIdx.x < kSumThreads / edge && column < p.to.block_count) {
      float total = 0.0f;
      int largest = 0;
      for (int k = 0; k < edge; ++k) {
        const float w = weights[threadIdx.x * edge + k];
        total += w;
        largest = max(largest, bits_of(w));
      }
      add_block(p.to.block_sum + block_at(column), p.to.block_max + block_at(column), total, largest);
    }
  }
  Piece& piece = s.pieces[static_cast<std::int64_t>(head) * s.num_pieces + blockIdx.x];
#pragma unroll
  for (int k = 0; k < kSums; ++k) {
    if (k >= kGroup0 + p.num_groups) break;
    const float total = block_reduce<kSumThreads>(sum[k], Add{}, shared);
    if (threadIdx.x == 0) piece.sum[k] = total;
  }
  const float highest = block_reduce<kSumThreads>(top, Largest{}, shared);
  const auto smaller = [](int a, int b) { return min(a, b); };
  const int smallest = block_reduce<kSumThreads>(top == highest ? at : INT32_MAX, smaller, shared_int);
  if (threadIdx.x == 0) {
    piece.top = highest;
    piece.at = smallest;
  }
}

/// One warp per head: the statistics of the row.
__global__ void __launch_bounds__(32) decode_row_kernel(const AttentionParams p, const Scratch s) {
  const int head = blockIdx.x, lane = threadIdx.x;
  const Piece* pieces = s.pieces + static_cast<std::int64_t>(head) * s.num_pieces;
  const float lse = s.lse_log2[head];
  const bool empty = lse == kNone;
  const float null = p.null_logit != nullptr ? p.null_logit[head] * kLog2e : kNone;
  const float null_mass = null == kNone || empty ? 0.0f : exp2f(null - lse);
  const std::int64_t row = head * p.to.row_stride;
  if (lane < kGroup0 + p.num_groups) {
    float sum = 0.0f;
    for (int k = 0; k < s.num_pieces; ++k) sum += pieces[k].sum[lane];
    if (lane == kEntropy) sum = kLn2 * (sum + (null_mass > 0.0f ? null_mass * (lse - null) : 0.0f));
    float* const to[] = {p.to.entropy_hi, p.to.first_hi, p.to.sink_hi, p.to.local_hi,
                         p.to.dist1_hi,   p.to.dist2_hi, p.to.off0_hi, p.to.off1_hi};
    if (empty) sum = 0.0f;
    if (lane < kGroup0)
      to[lane][row] = sum;
    else
      p.to.group_mass_hig[row * p.num_groups + lane - kGroup0] = sum;
  }
  if (lane != 0) return;
  float top = kNone;
  int at = -1;
  for (int k = 0; k < s.num_pieces; ++k)
    if (pieces[k].top > top) {
      top = pieces[k].top;
      at = pieces[k].at;
    }
  p.to.lse_hi[row] = empty ? kNone : kLn2 * lse;
  p.to.pmax_hi[row] = empty ? 0.0f : exp2f(top - lse);
  p.to.jmax_hi[row] = at;
  p.to.null_mass_hi[row] = null_mass;
}

template <class T, int kDim>
void launch_split(const AttentionParams& p, const Scratch& scratch, cudaStream_t stream) {
  const auto kernel = decode_split_kernel<T, kDim>;
  constexpr std::size_t kBytes = 4 * kTileKeys * kTileStride<kDim> * sizeof(T);
  static_assert(kBytes >= kWarps * kHeads * (kDim + 2) * sizeof(float));
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes));
  kernel<<<dim3(static_cast<unsigned>(scratch.splits), static_cast<unsigned>(p.num_kv_heads)), kThreads, kBytes,
           stream>>>(p, scratch);
  check_launch("decode_split");
}

template <class T>
void launch_output(const AttentionParams& p, const Scratch& scratch, cudaStream_t stream) {
  if (p.head_dim <= 64)
    launch_split<T, 64>(p, scratch, stream);
  else if (p.head_dim <= 96)
    launch_split<T, 96>(p, scratch, stream);
  else
    launch_split<T, 128>(p, scratch, stream);
  decode_join_kernel<T><<<static_cast<unsigned>(p.num_heads), kThreads, 0, stream>>>(p, scratch);
  check_launch("decode_join");
}

}  // namespace

bool is_decode(const AttentionParams& p) {
  constexpr int kFewKeys = 256;
  return p.num_queries == 1 && p.num_heads % p.num_kv_heads == 0 && p.num_heads / p.num_kv_heads <= kHeads &&
         p.head_dim <= 128 && p.num_keys >= kFewKeys;
}

std::size_t decode_scratch_bytes(const AttentionParams& p, bool statistics) {
  const Scratch s = scratch_for(p, statistics, nullptr);
  const std::int64_t heads = p.num_heads;
  std::int64_t words = s.splits * heads * (2 + p.head_dim) + heads;
  if (statistics) words += heads * (p.num_keys + s.num_pieces * static_cast<std::int64_t>(sizeof(Piece) / 4));
  return static_cast<std::size_t>(words) * 4;
}

void launch_decode(const AttentionParams& p, DType dtype, bool statistics, void* memory, cudaStream_t stream) {
  const Scratch scratch = scratch_for(p, statistics, memory);
  dtype == DType::bf16 ? launch_output<Bf16>(p, scratch, stream) : launch_output<F16>(p, scratch, stream);
  if (!statistics) return;
  decode_sums_kernel<<<dim3(static_cast<unsigned>(scratch.num_pieces), static_cast<unsigned>(p.num_heads)), kSumThreads,
                       0, stream>>>(p, scratch);
  check_launch("decode_sums");
  decode_row_kernel<<<static_cast<unsigned>(p.num_heads), 32, 0, stream>>>(p, scratch);
  check_launch("decode_row");
}

}  // namespace headlight::cuda

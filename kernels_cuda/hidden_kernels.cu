// Facts of the residual stream: rows, median, massive entries.

#include "kernels_cuda/attention_params.h"
#include "kernels_cuda/block_reduce.cuh"
#include "kernels_cuda/facts_launch.h"

namespace headlight::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

/// One block per row; the second look at the row comes from the L1 cache.
__global__ void __launch_bounds__(kThreads) hidden_kernel(const HiddenCall c) {
  __shared__ float shared[kWarps];
  __shared__ unsigned long long shared_keys[kWarps];
  const std::int64_t i = blockIdx.x;
  const float* x = c.x_id + i * c.d;
  const int d = static_cast<int>(c.d);
  float sum = 0.0f, squares = 0.0f, along = 0.0f, first_squares = 0.0f;
  unsigned long long largest = 0;  // |x| above, the complement of its place below: ties go to the smallest
  for (int e = static_cast<int>(threadIdx.x) * 4; e < d; e += kThreads * 4) {
    const float4 v = *reinterpret_cast<const float4*>(x + e), f = *reinterpret_cast<const float4*>(c.first_d + e);
    const float values[4] = {v.x, v.y, v.z, v.w}, firsts[4] = {f.x, f.y, f.z, f.w};
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) {
      sum += values[lane];
      squares = fmaf(values[lane], values[lane], squares);
      along = fmaf(values[lane], firsts[lane], along);
      first_squares = fmaf(firsts[lane], firsts[lane], first_squares);
      const unsigned long long key = static_cast<unsigned long long>(__float_as_uint(fabsf(values[lane]))) << 32 |
                                     (0xffffffffu - static_cast<unsigned>(e + lane));
      largest = key > largest ? key : largest;
    }
  }
  sum = block_reduce<kThreads>(sum, Add{}, shared);
  squares = block_reduce<kThreads>(squares, Add{}, shared);
  along = block_reduce<kThreads>(along, Add{}, shared);
  first_squares = block_reduce<kThreads>(first_squares, Add{}, shared);
  largest = block_reduce<kThreads>(largest, Largest{}, shared_keys);
  if (threadIdx.x != 0) return;
  const float absmax = __uint_as_float(static_cast<unsigned>(largest >> 32)), norm = sqrtf(squares);
  const float norms = norm * sqrtf(first_squares);
  c.norm_l2[i] = norm;
  c.absmax[i] = absmax;
  c.absmax_dim[i] = static_cast<std::int32_t>(0xffffffffu - static_cast<unsigned>(largest));
  c.mean[i] = sum / static_cast<float>(d);
  c.rms[i] = sqrtf(squares / static_cast<float>(d));
  c.cos_first[i] = norms > 0.0f ? fminf(1.0f, fmaxf(-1.0f, along / norms)) : 0.0f;
  atomicMax(reinterpret_cast<int*>(c.largest), __float_as_int(absmax));  // ordered as numbers: they are not negative
}

// ---- median
// -----------------------------------------------------------------------------------------------------------

constexpr int kMostBins = 2048;
constexpr int kDigits = 3;
constexpr int kSelectThreads = 1024;
__constant__ const int kShift[kDigits] = {20, 9, 0};
__constant__ const int kBits[kDigits] = {11, 11, 9};

/// What the digits so far say of the median.
struct MedianState {
  std::int64_t rank;  ///< among those with the prefix
  unsigned prefix;
  int skipped;
  unsigned bins[kDigits][kMostBins];
};

__global__ void begin_median_kernel(const MedianCall c, MedianState* state) {
  for (int k = static_cast<int>(threadIdx.x); k < kDigits * kMostBins; k += static_cast<int>(blockDim.x))
    (&state->bins[0][0])[k] = 0;
  if (threadIdx.x != 0) return;
  state->rank = (c.count - 1) / 2;
  state->prefix = 0;
  state->skipped = c.only_above >= 0.0f && !(*c.largest > c.only_above);
}

__global__ void __launch_bounds__(kThreads) count_digits_kernel(const MedianCall c, MedianState* state, int digit) {
  __shared__ unsigned bins[kMostBins];
  if (state->skipped) return;
  const int shift = kShift[digit], bits = kBits[digit];
  const unsigned prefix = state->prefix, mask = (1u << bits) - 1;
  for (int b = static_cast<int>(threadIdx.x); b < kMostBins; b += kThreads) bins[b] = 0;
  __syncthreads();
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t k = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; k < c.count / 4; k += stride) {
    const float4 v = reinterpret_cast<const float4*>(c.x)[k];
    for (const float value : {v.x, v.y, v.z, v.w}) {
      const unsigned magnitude = __float_as_uint(value) & 0x7fffffffu;
      if (magnitude >> shift >> bits == prefix) atomicAdd(&bins[magnitude >> shift & mask], 1u);
    }
  }
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b <= static_cast<int>(mask); b += kThreads)
    if (bins[b] > 0) atomicAdd(&state->bins[digit][b], bins[b]);
}

/// Two bins a thread.
__global__ void __launch_bounds__(kSelectThreads)
    select_digit_kernel(const MedianCall c, MedianState* state, int digit) {
  __shared__ int shared[kSelectThreads / 32];
  if (state->skipped) {
    if (threadIdx.x == 0) *c.median = __builtin_huge_valf();
    return;
  }
  const int first = static_cast<int>(threadIdx.x) * 2;
  const unsigned *bins = state->bins[digit], prefix = state->prefix;
  const int low = static_cast<int>(bins[first]), high = static_cast<int>(bins[first + 1]);
  const std::int64_t rank = state->rank;
  int total = 0;
  const std::int64_t before = block_scan<kSelectThreads>(low + high, shared, total);
  __syncthreads();  // every thread has read the state
  if (rank < before || rank >= before + low + high) return;
  const bool in_high = rank >= before + low;
  const unsigned found = prefix << kBits[digit] | static_cast<unsigned>(first + (in_high ? 1 : 0));
  state->prefix = found;
  state->rank = rank - before - (in_high ? low : 0);
  if (digit == kDigits - 1) *c.median = __uint_as_float(found);
}

// ---- massive entries
// ---------------------------------------------------------------------------------------------------

/// One warp per row.
__global__ void __launch_bounds__(kThreads) massive_kernel(const MassiveCall c) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const float threshold = fmaxf(c.absolute, c.over_median * *c.median);
  if (i >= c.n || !(c.absmax[i] > threshold)) return;
  for (int e = static_cast<int>(threadIdx.x) % 32; e < c.d; e += 32) {
    const float x = c.x_id[i * c.d + e];
    if (!(fabsf(x) > threshold)) continue;
    const int slot = atomicAdd(c.found, 1);
    if (slot < c.capacity) c.entries[slot] = {static_cast<std::int32_t>(i), e, x};
  }
}

}  // namespace

void launch_hidden(const HiddenCall& call, cudaStream_t stream) {
  hidden_kernel<<<static_cast<unsigned>(call.n), kThreads, 0, stream>>>(call);
  check_launch("hidden");
}

std::size_t median_state_bytes() {
  return sizeof(MedianState);
}

void launch_median(const MedianCall& call, int num_multiprocessors, cudaStream_t stream) {
  auto* state = static_cast<MedianState*>(call.scratch);
  begin_median_kernel<<<1, kThreads, 0, stream>>>(call, state);
  for (int digit = 0; digit < kDigits; ++digit) {
    count_digits_kernel<<<static_cast<unsigned>(num_multiprocessors * 4), kThreads, 0, stream>>>(call, state, digit);
    select_digit_kernel<<<1, kSelectThreads, 0, stream>>>(call, state, digit);
  }
  check_launch("median");
}

void launch_massive(const MassiveCall& call, cudaStream_t stream) {
  massive_kernel<<<static_cast<unsigned>((call.n + kWarps - 1) / kWarps), kThreads, 0, stream>>>(call);
  check_launch("massive");
}

}  // namespace headlight::cuda

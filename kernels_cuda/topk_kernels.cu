// The largest entries of rows of a map.

#include "kernels_cuda/attention_params.h"
#include "kernels_cuda/block_reduce.cuh"
#include "kernels_cuda/facts_launch.h"

namespace headlight::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kBins = 2048;  // digits of 11, 11 and 9 bits: entries are not negative, so their bits are ordered

struct Threshold {
  unsigned bits = 0;
  int ties = 0;  ///< entries equal to it that are kept
};

/// Digit of the k-th largest among the bins, 8 a thread, from above.
__device__ void select_digit(const unsigned* bins, unsigned& prefix, int bits, int& rank, int* shared) {
  constexpr int kEach = kBins / kThreads;
  __shared__ unsigned found;
  __shared__ int left;
  const int top = kBins - 1 - static_cast<int>(threadIdx.x) * kEach;
  int mine = 0, total = 0;
  for (int b = 0; b < kEach; ++b) mine += static_cast<int>(bins[top - b]);
  int before = block_scan<kThreads>(mine, shared, total);
  if (before < rank && rank <= before + mine) {
    int b = 0;
    for (; before + static_cast<int>(bins[top - b]) < rank; ++b) before += static_cast<int>(bins[top - b]);
    found = static_cast<unsigned>(top - b);
    left = rank - before;
  }
  __syncthreads();
  prefix = prefix << bits | found;
  rank = left;
  __syncthreads();
}

__device__ Threshold find_threshold(const float* attn, KeySpan keys, int k, unsigned* bins, int* shared) {
  unsigned prefix = 0;
  int rank = k;  // from above, among those with the prefix
  for (int digit = 0; digit < 3; ++digit) {
    const int shift = digit == 0 ? 20 : digit == 1 ? 9 : 0, bits = digit == 2 ? 9 : 11;
    for (int b = static_cast<int>(threadIdx.x); b < kBins; b += kThreads) bins[b] = 0;
    __syncthreads();
    for (int j = keys.begin + static_cast<int>(threadIdx.x); j < keys.end; j += kThreads) {
      const unsigned value = __float_as_uint(attn[j]);
      if (value >> shift >> bits == prefix) atomicAdd(&bins[value >> shift & ((1u << bits) - 1)], 1u);
    }
    __syncthreads();
    select_digit(bins, prefix, bits, rank, shared);
  }
  return {prefix, rank};
}

/// One block per row.
__global__ void __launch_bounds__(kThreads) topk_kernel(const TopkCall c) {
  __shared__ unsigned bins[kBins];
  __shared__ int shared[kWarps];
  __shared__ double shared_sums[kWarps];
  const std::int64_t row = blockIdx.x;
  const float* attn = c.attn + row * c.num_keys;
  const KeySpan keys = c.visible[row];
  Threshold threshold;
  threshold.ties = c.k;  // of rows with at most k keys: everything that is not above 0 bits is a tie
  if (keys.end - keys.begin > c.k) threshold = find_threshold(attn, keys, c.k, bins, shared);
  int kept = 0, ties = 0;
  double rest = 0.0;
  for (int first = keys.begin; first < keys.end; first += kThreads) {
    const int j = first + static_cast<int>(threadIdx.x);
    const float value = j < keys.end ? attn[j] : 0.0f;
    const unsigned bits = __float_as_uint(value);
    const bool tie = j < keys.end && bits == threshold.bits;
    int all_ties = 0, all_kept = 0;
    const int tie_number = ties + block_scan<kThreads>(tie ? 1 : 0, shared, all_ties);
    const bool keep = j < keys.end && (bits > threshold.bits || (tie && tie_number < threshold.ties));
    const int slot = kept + block_scan<kThreads>(keep ? 1 : 0, shared, all_kept);
    if (keep) {
      c.keys[row * c.k + slot] = j;
      c.values[row * c.k + slot] = value;
    } else {
      rest += static_cast<double>(value);
    }
    ties += all_ties;
    kept += all_kept;
  }
  rest = block_reduce<kThreads>(rest, Add{}, shared_sums);
  if (threadIdx.x == 0) c.remainder[row] = static_cast<float>(rest);
}

}  // namespace

void launch_topk(const TopkCall& call, cudaStream_t stream) {
  topk_kernel<<<static_cast<unsigned>(call.num_rows), kThreads, 0, stream>>>(call);
  check_launch("topk");
}

}  // namespace headlight::cuda

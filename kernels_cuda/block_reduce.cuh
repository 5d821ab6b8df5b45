#pragma once

// Private: reductions and scans over the threads of a block.
namespace headlight::cuda {

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Largest {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
  __device__ unsigned long long operator()(unsigned long long a, unsigned long long b) const { return a > b ? a : b; }
};

/// `op` over x of every thread, in one fixed order. @param shared  kThreads / 32 elements
template <int kThreads, class T, class Op>
__device__ T block_reduce(T x, const Op& op, T* shared) {
  for (int step = 16; step > 0; step /= 2) x = op(x, __shfl_xor_sync(0xffffffffu, x, step));
  __syncthreads();  // what was reduced before has been read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[0];
  for (int warp = 1; warp < kThreads / 32; ++warp) x = op(x, shared[warp]);
  return x;
}

/// Sum of x of the threads before this one; `total` = of all. @param shared  kThreads / 32 elements
template <int kThreads>
__device__ int block_scan(int x, int* shared, int& total) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int sum = x;
  for (int step = 1; step < 32; step *= 2) {
    const int before = __shfl_up_sync(0xffffffffu, sum, step);
    if (lane >= step) sum += before;
  }
  __syncthreads();  // what was scanned before has been read
  if (lane == 31) shared[warp] = sum;
  __syncthreads();
  int offset = 0;
  total = 0;
  for (int w = 0; w < kThreads / 32; ++w) {
    if (w < warp) offset += shared[w];
    total += shared[w];
  }
  return offset + sum - x;
}

}  // namespace headlight::cuda

#pragma once

// Private: reductions over the threads of a block.
namespace headlight::cuda {

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Largest {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

/// `op` over x of every thread, in one fixed order. @param shared  kThreads / 32 floats
template <int kThreads, class Op>
__device__ float block_reduce(float x, const Op& op, float* shared) {
  for (int step = 16; step > 0; step /= 2) x = op(x, __shfl_xor_sync(0xffffffffu, x, step));
  __syncthreads();  // what was reduced before has been read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[0];
  for (int warp = 1; warp < kThreads / 32; ++warp) x = op(x, shared[warp]);
  return x;
}

}  // namespace headlight::cuda

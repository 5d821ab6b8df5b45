// Norms, rotation, activations and embeddings. All of them are bound by memory: 16 bytes a load, one pass where the
// rows fit the caches.

#include "kernels_cuda/attention_params.h"
#include "kernels_cuda/block_reduce.cuh"
#include "kernels_cuda/dense_launch.h"
#include "kernels_cuda/ptx.cuh"

namespace headlight::cuda {
namespace {

using kernels::ActivationKind;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kMostHeadDim = 256;

unsigned blocks_for(std::int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}
__device__ std::int64_t thread_index() {
  return static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

/// Four consecutive numbers, narrowed.
template <class T>
__device__ void store4(T* to, float4 x) {
  *reinterpret_cast<uint2*>(to) = make_uint2(pack<T>(x.x, x.y), pack<T>(x.z, x.w));
}
__device__ float sum4(float4 x) {
  return (x.x + x.y) + (x.z + x.w);
}
__device__ float square4(float4 x) {
  return (x.x * x.x + x.y * x.y) + (x.z * x.z + x.w * x.w);
}

// ---- norms
// -----------------------------------------------------------------------------------------------------------

__device__ float4 normalized(const NormCall& c, float4 x, int e, float mean, float factor) {
  const float4 w = *reinterpret_cast<const float4*>(c.weight_d + e);
  float4 y = make_float4((x.x - mean) * factor * w.x, (x.y - mean) * factor * w.y, (x.z - mean) * factor * w.z,
                         (x.w - mean) * factor * w.w);
  if (c.bias_d == nullptr) return y;
  const float4 b = *reinterpret_cast<const float4*>(c.bias_d + e);
  return make_float4(y.x + b.x, y.y + b.y, y.z + b.z, y.w + b.w);
}

/// One block per row; the second and third look at the row come from the L1 cache.
template <class T>
__global__ void __launch_bounds__(kThreads) normalize_kernel(const NormCall c) {
  __shared__ float shared[kWarps];
  const std::int64_t i = blockIdx.x;
  const float* x = c.x + i * c.x_stride;
  const int d = static_cast<int>(c.d), first = static_cast<int>(threadIdx.x) * 4;
  const auto at = [&](int e) { return *reinterpret_cast<const float4*>(x + e); };
  float mean = 0.0f, squares = 0.0f;
  if (c.layer_norm) {
    float sum = 0.0f;
    for (int e = first; e < d; e += kThreads * 4) sum += sum4(at(e));
    mean = block_reduce<kThreads>(sum, Add{}, shared) / static_cast<float>(d);
  }
  for (int e = first; e < d; e += kThreads * 4) {
    const float4 v = at(e);
    squares += square4(make_float4(v.x - mean, v.y - mean, v.z - mean, v.w - mean));
  }
  squares = block_reduce<kThreads>(squares, Add{}, shared);
  const float factor = 1.0f / sqrtf(squares / static_cast<float>(d) + c.eps);
  for (int e = first; e < d; e += kThreads * 4) {
    float4 y = normalized(c, at(e), e, mean, factor);
    if (c.target == NormTarget::narrow) {
      store4(static_cast<T*>(c.y) + i * c.d + e, y);
      continue;
    }
    float4* to = reinterpret_cast<float4*>(static_cast<float*>(c.y) + i * c.y_stride + e);
    if (c.target == NormTarget::add) {
      const float4 old = *to;
      y = make_float4(old.x + y.x, old.y + y.y, old.z + y.z, old.w + y.w);
    }
    *to = y;
  }
}

// ---- operands of attention
// ---------------------------------------------------------------------------------------------

/// One warp per head of a row: bias, norm and rotation in shared memory, then rounded to where it belongs.
template <class T>
__global__ void __launch_bounds__(kThreads) operands_kernel(const OperandsCall c) {
  __shared__ float shared[kWarps][kMostHeadDim];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int heads = c.num_heads + 2 * c.num_kv_heads, dim = c.head_dim, half = c.rotary_dim / 2;
  const std::int64_t i = blockIdx.x;
  float* x = shared[warp];
  for (int head = warp; head < heads; head += kWarps) {
    const bool query = head < c.num_heads, key = !query && head < c.num_heads + c.num_kv_heads;
    const float* from = c.qkv + (i * heads + head) * dim;
    const float* norm = query ? c.q_norm_d : key ? c.k_norm_d : nullptr;
    float squares = 0.0f;
    for (int e = lane; e < dim; e += 32) {
      x[e] = from[e] + (c.bias != nullptr ? c.bias[head * dim + e] : 0.0f);
      squares += x[e] * x[e];
    }
    __syncwarp();
    if (norm != nullptr) {
      for (int step = 16; step > 0; step /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, step);
      const float factor = 1.0f / sqrtf(squares / static_cast<float>(dim) + c.eps);
      for (int e = lane; e < dim; e += 32) x[e] *= factor * norm[e];
      __syncwarp();
    }
    if (query || key) {
      const float* table = c.cos_sin + i * c.rotary_dim;
      for (int j = lane; j < half; j += 32) {
        const float low = x[j], high = x[j + half], cosine = table[j], sine = table[half + j];
        x[j] = low * cosine - high * sine;
        x[j + half] = high * cosine + low * sine;
      }
      __syncwarp();
    }
    const int group = head - c.num_heads - (key ? 0 : c.num_kv_heads);
    T* to = query ? static_cast<T*>(c.q_ihd) + (i * c.num_heads + head) * dim
                  : static_cast<T*>(key ? c.k_gjd : c.v_gjd) + group * c.kv_stride + (c.start + i) * dim;
    for (int e = lane; e < dim; e += 32) to[e] = narrowed<T>(x[e]);
    __syncwarp();
  }
}

// ---- activations
// -------------------------------------------------------------------------------------------------------

__device__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

__device__ float activation_of(ActivationKind kind, float x) {
  switch (kind) {
    case ActivationKind::silu:
      return x * sigmoid(x);
    case ActivationKind::gelu_exact:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case ActivationKind::gelu_tanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case ActivationKind::quick_gelu:
      return x * sigmoid(1.702f * x);
    default:
      return x;
  }
}

__device__ float gated(ActivationKind kind, float gate, float up) {
  if (kind != ActivationKind::clamped_swiglu) return activation_of(kind, gate) * up;
  gate = gate > 7.0f ? 7.0f : gate;  // comparisons that keep NaN
  up = up > 7.0f ? 7.0f : (up < -7.0f ? -7.0f : up);
  return (up + 1.0f) * gate * sigmoid(1.702f * gate);
}

/// Eight numbers a thread.
template <class T>
__global__ void __launch_bounds__(kThreads) activate_kernel(const ActivationCall c) {
  const std::int64_t eighths = c.width / 8, index = thread_index();
  if (index >= c.n * eighths) return;
  const std::int64_t i = index / eighths, e = index % eighths * 8;
  const T* row = static_cast<const T*>(c.in) + i * c.width * (c.gated ? 2 : 1);
  const std::int64_t up_at = e + (c.gated ? c.width : 0);
  const uint4 up_bits = *reinterpret_cast<const uint4*>(row + up_at);
  const uint4 gate_bits = c.gated ? *reinterpret_cast<const uint4*>(row + e) : up_bits;
  const T *ups = reinterpret_cast<const T*>(&up_bits), *gates = reinterpret_cast<const T*>(&gate_bits);
  uint4 result;
  T* results = reinterpret_cast<T*>(&result);
#pragma unroll
  for (int lane = 0; lane < 8; ++lane) {
    const float up = to_float(ups[lane]) + (c.bias != nullptr ? c.bias[up_at + lane] : 0.0f);
    const float gate = to_float(gates[lane]) + (c.bias != nullptr ? c.bias[e + lane] : 0.0f);
    results[lane] = narrowed<T>(c.gated ? gated(c.kind, gate, up) : activation_of(c.kind, up));
  }
  *reinterpret_cast<uint4*>(static_cast<T*>(c.out) + i * c.width + e) = result;
}

// ---- the rest
// ----------------------------------------------------------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(kThreads) embed_kernel(const EmbeddingCall c) {
  const std::int64_t index = thread_index();
  if (index >= c.n * c.d) return;
  const std::int64_t i = index / c.d, e = index % c.d;
  float x = to_float(static_cast<const T*>(c.table_vd)[c.ids[i] * c.d + e]) * c.scale;
  if (c.positions_jd != nullptr) x += to_float(static_cast<const T*>(c.positions_jd)[(c.start + i) * c.d + e]);
  c.x_id[index] = x;
}

template <class T>
__global__ void __launch_bounds__(kThreads) narrow_kernel(const float* x, std::int64_t count, T* y) {
  const std::int64_t index = thread_index();
  if (index < count) y[index] = narrowed<T>(x[index]);
}

__global__ void __launch_bounds__(kThreads) soft_cap_kernel(float* x, float cap, std::int64_t count) {
  const std::int64_t index = thread_index();
  if (index < count) x[index] = cap * tanhf(x[index] / cap);
}

__global__ void __launch_bounds__(kThreads)
    find_nonfinite_kernel(const float* x, int d, std::int64_t start, int* first_bad) {
  const std::int64_t i = blockIdx.x;
  bool bad = false;
  for (int e = static_cast<int>(threadIdx.x); e < d; e += kThreads) bad = bad || !isfinite(x[i * d + e]);
  if (__syncthreads_or(bad) && threadIdx.x == 0) atomicMin(first_bad, static_cast<int>(start + i));
}

}  // namespace

void launch_normalize(const NormCall& call, cudaStream_t stream) {
  const auto kernel = call.dtype == DType::f16 ? normalize_kernel<F16> : normalize_kernel<Bf16>;
  kernel<<<static_cast<unsigned>(call.n), kThreads, 0, stream>>>(call);
  check_launch("normalize");
}

void launch_operands(const OperandsCall& call, cudaStream_t stream) {
  const auto kernel = call.dtype == DType::f16 ? operands_kernel<F16> : operands_kernel<Bf16>;
  kernel<<<static_cast<unsigned>(call.n), kThreads, 0, stream>>>(call);
  check_launch("operands");
}

void launch_activate(const ActivationCall& call, cudaStream_t stream) {
  const auto kernel = call.dtype == DType::f16 ? activate_kernel<F16> : activate_kernel<Bf16>;
  kernel<<<blocks_for(call.n * call.width / 8), kThreads, 0, stream>>>(call);
  check_launch("activate");
}

void launch_embed(const EmbeddingCall& call, cudaStream_t stream) {
  const auto kernel = call.dtype == DType::f16 ? embed_kernel<F16> : embed_kernel<Bf16>;
  kernel<<<blocks_for(call.n * call.d), kThreads, 0, stream>>>(call);
  check_launch("embed");
}

void launch_narrow(DType dtype, const float* x, std::int64_t count, void* y, cudaStream_t stream) {
  if (dtype == DType::f16)
    narrow_kernel<<<blocks_for(count), kThreads, 0, stream>>>(x, count, static_cast<F16*>(y));
  else
    narrow_kernel<<<blocks_for(count), kThreads, 0, stream>>>(x, count, static_cast<Bf16*>(y));
  check_launch("narrow");
}

void launch_soft_cap(float* x, float cap, std::int64_t count, cudaStream_t stream) {
  soft_cap_kernel<<<blocks_for(count), kThreads, 0, stream>>>(x, cap, count);
  check_launch("soft_cap");
}

void launch_find_nonfinite(const float* x, std::int64_t n, std::int64_t d, std::int64_t start, int* first_bad,
                           cudaStream_t stream) {
  find_nonfinite_kernel<<<static_cast<unsigned>(n), kThreads, 0, stream>>>(x, static_cast<int>(d), start, first_bad);
  check_launch("find_nonfinite");
}

}  // namespace headlight::cuda

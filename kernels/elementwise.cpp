#include "kernels/elementwise.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cpu_tier.h"
#include "kernels/elementwise_tiers.h"

namespace headlight::kernels {
namespace {

// Values a task should have before sharing the work pays: a few microseconds of arithmetic.
constexpr std::int64_t kCheapTask = 32 * 1024;
constexpr std::int64_t kCostlyTask = 8 * 1024;  // with an exponential per value

const ElementwiseLoops& loops() {
#if defined(__x86_64__)
  switch (active_cpu_tier()) {
    case CpuTier::scalar:
      break;
    case CpuTier::avx2:
      return elementwise_loops_avx2();
    case CpuTier::avx512:
    case CpuTier::avx512vnni:
      return elementwise_loops_avx512();
  }
#endif
  return elementwise_loops_scalar();
}

/// run(first, count) over [0, total) in pieces of `piece`; one piece runs on the calling thread.
template <class Run>
void in_pieces(ThreadPool& pool, std::int64_t total, std::int64_t piece, const Run& run) {
  pool.parallel_for((total + piece - 1) / piece,
                    [&](std::int64_t task, int) { run(task * piece, std::min(piece, total - task * piece)); });
}

template <class Run>
void over_rows(ThreadPool& pool, std::int64_t n, std::int64_t d, const Run& run) {
  in_pieces(pool, n, std::max<std::int64_t>(1, kCheapTask / std::max<std::int64_t>(1, d)),
            [&](std::int64_t first, std::int64_t count) {
              for (std::int64_t i = first; i < first + count; ++i) run(i);
            });
}

}  // namespace

void rms_norm(ThreadPool& pool, const float* x, float* y, std::int64_t n, std::int64_t d, const float* weight_d,
              float eps) {
  const auto& fast = loops();
  over_rows(pool, n, d, [&](std::int64_t i) { fast.rms_norm(x + i * d, y + i * d, d, weight_d, eps); });
}

void layer_norm(ThreadPool& pool, const float* x, float* y, std::int64_t n, std::int64_t d, const float* weight_d,
                const float* bias_d, float eps) {
  const auto& fast = loops();
  over_rows(pool, n, d, [&](std::int64_t i) { fast.layer_norm(x + i * d, y + i * d, d, weight_d, bias_d, eps); });
}

void rms_norm_heads(ThreadPool& pool, float* x, std::int64_t n, std::int64_t stride, int num_heads, int head_dim,
                    const float* weight_d, float eps) {
  const auto& fast = loops();
  over_rows(pool, n, std::int64_t{num_heads} * head_dim, [&](std::int64_t i) {
    for (int h = 0; h < num_heads; ++h) {
      float* head = x + i * stride + std::int64_t{h} * head_dim;
      fast.rms_norm(head, head, head_dim, weight_d, eps);
    }
  });
}

void rope(ThreadPool& pool, float* x, std::int64_t n, std::int64_t stride, int num_heads, int head_dim, int rotary_dim,
          const float* cos_sin) {
  HEADLIGHT_CHECK(rotary_dim % 2 == 0 && rotary_dim <= head_dim);
  const auto& fast = loops();
  const std::int64_t half = rotary_dim / 2;
  over_rows(pool, n, std::int64_t{num_heads} * head_dim, [&](std::int64_t i) {
    const float* cosines = cos_sin + i * rotary_dim;
    for (int h = 0; h < num_heads; ++h)
      fast.rope(x + i * stride + std::int64_t{h} * head_dim, half, cosines, cosines + half);
  });
}

void gated_activation(ThreadPool& pool, ActivationKind kind, const float* gate, const float* up, float* out,
                      std::int64_t count) {
  const auto& fast = loops();
  in_pieces(pool, count, kCostlyTask, [&](std::int64_t first, std::int64_t size) {
    fast.activate(kind, gate + first, up + first, out + first, size);
  });
}

void activation(ThreadPool& pool, ActivationKind kind, float* x, std::int64_t count) {
  HEADLIGHT_CHECK(kind != ActivationKind::clamped_swiglu);  // defined for a pair only
  const auto& fast = loops();
  in_pieces(pool, count, kCostlyTask,
            [&](std::int64_t first, std::int64_t size) { fast.activate(kind, x + first, nullptr, x + first, size); });
}

void add(ThreadPool& pool, float* x, const float* y, std::int64_t count) {
  const auto& fast = loops();
  in_pieces(pool, count, kCheapTask,
            [&](std::int64_t first, std::int64_t size) { fast.add(x + first, y + first, size); });
}

void scale(ThreadPool& pool, float* x, float factor, std::int64_t count) {
  const auto& fast = loops();
  in_pieces(pool, count, kCheapTask,
            [&](std::int64_t first, std::int64_t size) { fast.scale(x + first, factor, size); });
}

void soft_cap(ThreadPool& pool, float* x, float cap, std::int64_t count) {
  const auto& fast = loops();
  in_pieces(pool, count, kCostlyTask,
            [&](std::int64_t first, std::int64_t size) { fast.soft_cap(x + first, cap, size); });
}

void exp_shifted(float* x, std::int64_t count, float factor, float shift) {
  loops().exp_shifted(x, count, factor, shift);
}

RowFacts row_facts(std::span<const float> x) {
  RowFacts facts;
  if (!x.empty()) loops().facts(x.data(), static_cast<std::int64_t>(x.size()), facts);
  return facts;
}

}  // namespace headlight::kernels

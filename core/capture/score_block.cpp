#include "core/capture/score_block.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu_tier.h"
#include "kernels/elementwise.h"

namespace headlight::capture {
namespace {

constexpr std::int64_t kChain = 32;

// The compiler's portable vector: two SSE registers, one AVX register, or scalars.
using Vec = float __attribute__((vector_size(sizeof(float) * KeyPanel::kGroup)));

// Inlined everywhere, so that it is compiled for the instruction set of its caller.
template <int kRows>
[[gnu::always_inline]] inline void score_group(const float* q_id, std::int64_t dim, const float* keys, float* out,
                                               std::int64_t stride) {
  Vec total[kRows] = {};
  for (std::int64_t begin = 0; begin < dim; begin += kChain) {
    Vec sum[kRows] = {};
    const std::int64_t end = std::min(dim, begin + kChain);
    for (std::int64_t d = begin; d < end; ++d) {
      Vec key;
      std::memcpy(&key, keys + d * KeyPanel::kGroup, sizeof key);
      for (int r = 0; r < kRows; ++r) sum[r] += q_id[r * dim + d] * key;
    }
    for (int r = 0; r < kRows; ++r) total[r] += sum[r];
  }
  for (int r = 0; r < kRows; ++r) std::memcpy(out + r * stride, &total[r], sizeof(Vec));
}

[[gnu::always_inline]] inline void score_groups(const float* q_id, std::int64_t num_rows, const KeyPanel& panel,
                                                std::int64_t group_begin, std::int64_t group_end, float* out,
                                                std::int64_t stride) {
  const std::int64_t dim = panel.dim();
  for (std::int64_t g = group_begin; g < group_end; ++g) {
    float* const at = out + (g - group_begin) * KeyPanel::kGroup;
    if (num_rows == kScoreRows) {
      score_group<kScoreRows>(q_id, dim, panel.group(g), at, stride);
    } else {
      for (std::int64_t r = 0; r < num_rows; ++r)
        score_group<1>(q_id + r * dim, dim, panel.group(g), at + r * stride, stride);
    }
  }
}

#if defined(__x86_64__)
// AVX2 without fused multiply-add: the bits of the baseline, in half the instructions.
[[gnu::target("avx2")]] void score_groups_avx2(const float* q_id, std::int64_t num_rows, const KeyPanel& panel,
                                               std::int64_t group_begin, std::int64_t group_end, float* out,
                                               std::int64_t stride) {
  score_groups(q_id, num_rows, panel, group_begin, group_end, out, stride);
}
#endif

}  // namespace

void KeyPanel::pack(const float* k_jd, std::int64_t num_keys, std::int64_t dim) {
  num_keys_ = num_keys;
  dim_ = dim;
  const auto size = static_cast<std::size_t>(num_groups() * kGroup * dim);
  if (packed_.size() < size) packed_ = Buffer<float>(size);
  for (std::int64_t g = 0; g < num_groups(); ++g)
    for (std::int64_t n = 0; n < kGroup; ++n) {
      const std::int64_t j = g * kGroup + n;
      for (std::int64_t d = 0; d < dim; ++d)
        packed_[static_cast<std::size_t>((g * dim + d) * kGroup + n)] = j < num_keys ? k_jd[j * dim + d] : 0.0f;
    }
}

void score_rows(const float* q_id, std::int64_t num_rows, const KeyPanel& panel, std::int64_t group_begin,
                std::int64_t group_end, float* out, std::int64_t stride) {
#if defined(__x86_64__)
  if (kernels::active_cpu_tier() != kernels::CpuTier::scalar)
    return score_groups_avx2(q_id, num_rows, panel, group_begin, group_end, out, stride);
#endif
  score_groups(q_id, num_rows, panel, group_begin, group_end, out, stride);
}

void score_dots(const LayerParameters& parameters, float* row_j, std::int64_t count) {
  const float cap = parameters.soft_cap;
  for (std::int64_t j = 0; j < count; ++j) {
    row_j[j] *= parameters.scale;
    if (cap > 0.0f) row_j[j] = cap * std::tanh(row_j[j] / cap);
  }
}

void finish_row(const LayerParameters& parameters, float lse, float* row_j, std::int64_t count) {
  const bool capped = parameters.soft_cap > 0.0f;
  if (capped) score_dots(parameters, row_j, count);
  kernels::exp_shifted(row_j, count, capped ? 1.0f : parameters.scale, lse);
}

}  // namespace headlight::capture

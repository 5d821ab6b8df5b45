#include "core/engine/value_norms.h"

#include <algorithm>
#include <cmath>

#include "kernels/linear.h"
#include "kernels/linear_gemm.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kChunkRows = 64;           // rows of W_O dequantised by one task
constexpr std::int64_t kPanelElements = 4 << 20;  // 16 MiB of W_O at a time
constexpr std::int64_t kNormRows = 128;

float dot(const float* a, const float* b, std::int64_t count) {
  float sums[8] = {};
  std::int64_t k = 0;
  for (; k + 8 <= count; k += 8)
    for (int lane = 0; lane < 8; ++lane) sums[lane] += a[k + lane] * b[k + lane];
  for (; k < count; ++k) sums[0] += a[k] * b[k];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

void for_rows(ThreadPool& pool, std::int64_t n, const std::function<void(std::int64_t, std::int64_t)>& body) {
  if (n <= kNormRows) return body(0, n);
  pool.parallel_for((n + kNormRows - 1) / kNormRows,
                    [&](std::int64_t task, int) { body(task * kNormRows, std::min(n, (task + 1) * kNormRows)); });
}

}  // namespace

ValueNorms::ValueNorms(const Engine::Impl& engine, bool keep)
    : engine_(engine), keep_(keep), gram_lhdd_(static_cast<std::size_t>(keep ? engine.spec().num_layers : 1)) {}

// Gram_h = W_h^T W_h, W_h = columns of head h of W_O, summed over panels of rows.
void ValueNorms::fill_gram(int layer, float* gram_hdd) {
  const formats::ModelSpec& spec = engine_.spec();
  const kernels::MatrixView& w = engine_.weights.layers[static_cast<std::size_t>(layer)].output.w;
  const std::int64_t head_dim = spec.head_dim;
  const std::int64_t panel_rows = std::clamp<std::int64_t>(kPanelElements / w.cols, 1, w.rows);
  float* panel = ensure(panel_, panel_rows * w.cols);
  for (std::int64_t first = 0; first < w.rows; first += panel_rows) {
    const std::int64_t rows = std::min(panel_rows, w.rows - first);
    engine_.pool.parallel_for((rows + kChunkRows - 1) / kChunkRows, [&](std::int64_t task, int) {
      const std::int64_t begin = task * kChunkRows;
      kernels::dequantize_rows(w, first + begin, std::min(kChunkRows, rows - begin), panel + begin * w.cols);
    });
    engine_.pool.parallel_for(spec.num_heads, [&](std::int64_t h, int) {
      const float* slice = panel + h * head_dim;
      kernels::gemm_tn(head_dim, head_dim, rows, slice, w.cols, slice, w.cols, gram_hdd + h * head_dim * head_dim,
                       head_dim, first > 0);
    });
  }
}

const float* ValueNorms::gram(int layer) {
  const formats::ModelSpec& spec = engine_.spec();
  Buffer<float>& buffer = gram_lhdd_[keep_ ? static_cast<std::size_t>(layer) : 0];
  const bool filled = keep_ && !buffer.empty();
  float* gram_hdd = ensure(buffer, std::int64_t{spec.num_heads} * spec.head_dim * spec.head_dim);
  if (!filled) fill_gram(layer, gram_hdd);
  return gram_hdd;
}

void ValueNorms::compute(int layer, const float* v_igd, std::int64_t n, std::int64_t v_stride, float* u_norm_hi,
                         std::int64_t row_stride) {
  const formats::ModelSpec& spec = engine_.spec();
  const std::int64_t head_dim = spec.head_dim, heads_per_group = spec.num_heads / spec.num_kv_heads;
  const std::int64_t width = heads_per_group * head_dim;
  const float* gram_hdd = gram(layer);
  const std::int64_t blocks = (n + kNormRows - 1) / kNormRows, scratch = std::min(n, kNormRows) * width;
  float* products = ensure(product_, engine_.pool.num_threads() * scratch);
  engine_.pool.parallel_for(spec.num_kv_heads * blocks, [&](std::int64_t task, int worker) {
    const std::int64_t g = task / blocks, first = task % blocks * kNormRows;
    const std::int64_t rows = std::min(kNormRows, n - first);
    const float* v = v_igd + first * v_stride + g * head_dim;
    float* product = products + worker * scratch;  // [rows][heads of the group][D]: every Gram matrix times v
    kernels::gemm_nt(rows, width, head_dim, v, v_stride, gram_hdd + g * width * head_dim, head_dim, product, width,
                     false);
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t r = 0; r < heads_per_group; ++r)
        u_norm_hi[(g * heads_per_group + r) * row_stride + first + i] =
            std::sqrt(std::max(0.0f, dot(product + i * width + r * head_dim, v + i * v_stride, head_dim)));
  });
}

void head_norms(ThreadPool& pool, const float* x_igd, std::int64_t n, std::int64_t stride, int num_heads, int head_dim,
                float* out_gi, std::int64_t row_stride) {
  for_rows(pool, n, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      for (std::int64_t g = 0; g < num_heads; ++g) {
        const float* x = x_igd + i * stride + g * head_dim;
        out_gi[g * row_stride + i] = std::sqrt(dot(x, x, head_dim));
      }
  });
}

}  // namespace headlight::engine

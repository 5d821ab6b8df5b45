#include "kernels/linear.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cpu_tier.h"
#include "kernels/dequantize.h"
#include "kernels/linear_gemm.h"
#include "kernels/linear_tiers.h"

namespace headlight::kernels {
namespace {

constexpr std::int64_t kDotTaskWeights = 64 * 1024;  // about 5 us of work: several times the price of sharing it
constexpr std::int64_t kGemmTasksWanted = 6;

void grow(Buffer<float>& buffer, std::int64_t size) {
  if (buffer.size() < static_cast<std::size_t>(size)) buffer = Buffer<float>(static_cast<std::size_t>(size));
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

const std::uint8_t* row_pointer(const MatrixView& w, std::int64_t row) {
  return reinterpret_cast<const std::uint8_t*>(w.data) + row * static_cast<std::int64_t>(row_bytes(w.type, w.cols));
}

/// Sum of 8 running sums, so that long rows stay accurate.
float plain_dot(const float* a, const float* b, std::int64_t count) {
  float sums[8] = {};
  std::int64_t k = 0;
  for (; k + 8 <= count; k += 8)
    for (int lane = 0; lane < 8; ++lane) sums[lane] += a[k + lane] * b[k + lane];
  for (; k < count; ++k) sums[k % 8] += a[k] * b[k];
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/// A dot without a fused kernel: dequantise a row, multiply it with every row of x.
void dot_plain(const MatrixView& w, std::int64_t first, const DotArgs& args, float* scratch) {
  for (std::int64_t r = 0; r < args.rows; ++r) {
    dequantize_rows(w, first + r, 1, scratch);
    for (int i = 0; i < args.n; ++i) {
      const float dot = plain_dot(args.x + i * args.x_stride, scratch, args.cols);
      args.y[i * args.y_stride + r] = args.bias ? dot + args.bias[r] : dot;
    }
  }
}

void block_sums(const float* x, std::int64_t count, float* sums) {
  for (std::int64_t b = 0; b < count / kActivationBlock; ++b) {
    float lanes[8] = {};
    for (int k = 0; k < kActivationBlock; ++k) lanes[k % 8] += x[b * kActivationBlock + k];
    sums[b] = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  }
}

void matvec(ThreadPool& pool, LinearWorkspace& workspace, const MatrixView& w, const float* x, std::int64_t n,
            std::int64_t x_stride, float* y, std::int64_t y_stride, const float* bias) {
  const TypeKernels fast = type_kernels(w.type);
  const std::int64_t sums_stride = fast.dot && has_minimum(w.type) ? w.cols / kActivationBlock : 0;
  const std::int64_t scratch_size = fast.dot ? 0 : w.cols;
  grow(workspace.panels, n * sums_stride + scratch_size * pool.num_threads());
  float* sums = workspace.panels.data();
  float* scratch = sums + n * sums_stride;
  for (std::int64_t i = 0; sums_stride > 0 && i < n; ++i) block_sums(x + i * x_stride, w.cols, sums + i * sums_stride);

  const std::int64_t rows_per_task =
      std::max<std::int64_t>(1, kDotTaskWeights / (w.cols * std::min<std::int64_t>(n, 4)));
  pool.parallel_for(divide_up(w.rows, rows_per_task), [&](std::int64_t task, int worker) {
    const std::int64_t first = task * rows_per_task;
    DotArgs args{.w = row_pointer(w, first),
                 .row_bytes = static_cast<std::int64_t>(row_bytes(w.type, w.cols)),
                 .rows = std::min(rows_per_task, w.rows - first),
                 .cols = w.cols,
                 .x_stride = x_stride,
                 .sums_stride = sums_stride,
                 .y_stride = y_stride,
                 .bias = bias ? bias + first : nullptr};
    for (std::int64_t i = 0; i < n; i += kMaxDotRows) {
      args.n = static_cast<int>(std::min<std::int64_t>(kMaxDotRows, n - i));
      args.x = x + i * x_stride;
      args.sums = sums + i * sums_stride;
      args.y = y + i * y_stride + first;
      if (fast.dot)
        fast.dot(args);
      else
        dot_plain(w, first, args, scratch + worker * scratch_size);
    }
  });
}

/// Tiles of the output. A function of the shapes alone, so that the thread count cannot change a bit.
struct GemmTiles {
  std::int64_t panel = 0;   ///< weight rows
  std::int64_t x_rows = 0;  ///< rows of x
};

GemmTiles gemm_tiles(std::int64_t rows, std::int64_t n) {
  GemmTiles tiles{rows <= 1024 ? 96 : 192, divide_up(n, divide_up(n, 512))};
  while (divide_up(rows, tiles.panel) * divide_up(n, tiles.x_rows) < kGemmTasksWanted && tiles.x_rows >= 256)
    tiles.x_rows = divide_up(tiles.x_rows, 2);
  return tiles;
}

void gemm_on_panels(ThreadPool& pool, LinearWorkspace& workspace, const MatrixView& w, const float* x, std::int64_t n,
                    std::int64_t x_stride, float* y, std::int64_t y_stride, const float* bias) {
  const GemmTiles tiles = gemm_tiles(w.rows, n);
  // Rows of some file formats may start anywhere; those are copied too.
  const bool stored_f32 = w.type == TensorType::f32 && reinterpret_cast<std::uintptr_t>(w.data) % alignof(float) == 0;
  const std::int64_t panel_size = stored_f32 ? 0 : tiles.panel * w.cols;
  grow(workspace.panels, panel_size * pool.num_threads());

  const std::int64_t num_panels = divide_up(w.rows, tiles.panel), num_x_blocks = divide_up(n, tiles.x_rows);
  pool.parallel_for(num_panels * num_x_blocks, [&](std::int64_t task, int worker) {
    const std::int64_t first = task / num_x_blocks * tiles.panel, rows = std::min(tiles.panel, w.rows - first);
    const std::int64_t i0 = task % num_x_blocks * tiles.x_rows, count = std::min(tiles.x_rows, n - i0);
    const float* panel = reinterpret_cast<const float*>(row_pointer(w, first));
    if (!stored_f32) {
      float* own = workspace.panels.data() + worker * panel_size;
      dequantize_rows(w, first, rows, own);
      panel = own;
    }
    float* out = y + i0 * y_stride + first;
    for (std::int64_t i = 0; bias && i < count; ++i) std::copy_n(bias + first, rows, out + i * y_stride);
    gemm_nt(count, rows, w.cols, x + i0 * x_stride, x_stride, panel, w.cols, out, y_stride, bias != nullptr);
  });
}

}  // namespace

TypeKernels type_kernels(TensorType type) {
#if defined(__x86_64__)
  switch (active_cpu_tier()) {
    case CpuTier::scalar:
      return {};
    case CpuTier::avx2:
      return type_kernels_avx2(type);
    case CpuTier::avx512:
      return type_kernels_avx512(type);
    case CpuTier::avx512vnni:
      return type_kernels_avx512vnni(type);
  }
#endif
  static_cast<void>(type);
  return {};
}

bool has_minimum(TensorType type) {
  return type == TensorType::q4_1 || type == TensorType::q5_1 || type == TensorType::q4_k || type == TensorType::q5_k;
}

void linear(ThreadPool& pool, LinearWorkspace& workspace, const MatrixView& w, const float* x, std::int64_t n,
            std::int64_t x_stride, float* y, std::int64_t y_stride, const float* bias) {
  if (n <= 0 || w.rows <= 0) return;
  HEADLIGHT_CHECK(w.cols > 0 && x_stride >= w.cols && y_stride >= w.rows);
  if (n < kGemmMinRows)
    matvec(pool, workspace, w, x, n, x_stride, y, y_stride, bias);
  else
    gemm_on_panels(pool, workspace, w, x, n, x_stride, y, y_stride, bias);
}

void dequantize_rows(const MatrixView& w, std::int64_t first, std::int64_t count, float* out) {
  const TypeKernels fast = type_kernels(w.type);
  const std::size_t cols = static_cast<std::size_t>(w.cols);
  for (std::int64_t r = 0; r < count; ++r, out += w.cols) {
    const std::uint8_t* row = row_pointer(w, first + r);
    if (fast.dequantize)
      fast.dequantize(row, out, w.cols);
    else
      dequantize_row(w.type, reinterpret_cast<const std::byte*>(row), {out, cols});
  }
}

}  // namespace headlight::kernels

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/dtype.h"
#include "base/error.h"
#include "kernels/cpu_tier.h"
#include "kernels/linear.h"
#include "kernels/linear_tiers.h"

namespace headlight::kernels {
namespace {

constexpr std::int64_t kTaskWeights = 128 * 1024;
constexpr std::array<std::int8_t, 16> kIq4Values{-127, -104, -83, -65, -49, -35, -22, -10,
                                                 1,    13,   25,  38,  53,  69,  89,  113};

using Block = const std::uint8_t*;

float half_at(Block b) {
  std::uint16_t bits;
  std::memcpy(&bits, b, sizeof bits);
  return f16_to_f32(bits);
}

/// 32 consecutive weights: value j is codes[j] * scale[j / 16] + minimum.
struct Group {
  std::array<int, 32> codes;
  std::array<float, 2> scale;
  float minimum = 0.0f;
};

/// Nibbles of 16 bytes, low ones first, plus a fifth bit from bit j of `high`.
void small_codes(Group& group, Block qs, std::uint32_t high, int offset) {
  for (int j = 0; j < 32; ++j) {
    const int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
    group.codes[static_cast<std::size_t>(j)] = (low | static_cast<int>(((high >> j) & 1u) << 4)) - offset;
  }
}

Group legacy_group(TensorType type, Block b) {
  Group group;
  group.scale.fill(half_at(b));
  std::uint32_t high = 0;
  switch (type) {
    case TensorType::q4_0:
      small_codes(group, b + 2, 0, 8);
      break;
    case TensorType::q4_1:
      group.minimum = half_at(b + 2);
      small_codes(group, b + 4, 0, 0);
      break;
    case TensorType::q5_0:
      std::memcpy(&high, b + 2, sizeof high);
      small_codes(group, b + 6, high, 16);
      break;
    case TensorType::q5_1:
      group.minimum = half_at(b + 2);
      std::memcpy(&high, b + 4, sizeof high);
      small_codes(group, b + 8, high, 0);
      break;
    case TensorType::iq4_nl:
      small_codes(group, b + 2, 0, 0);
      for (int& code : group.codes) code = kIq4Values[static_cast<std::size_t>(code)];
      break;
    default:  // Q8_0
      for (std::size_t j = 0; j < 32; ++j) group.codes[j] = static_cast<std::int8_t>(b[2 + j]);
  }
  return group;
}

/// Group g of a Q4_K or Q5_K block.
Group scaled_minimum_group(TensorType type, Block b, int g) {
  const Block s = b + 4, qs = b + (type == TensorType::q4_k ? 16 : 48) + 32 * (g / 2);
  const int sc = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | ((s[g - 4] >> 6) << 4);
  const int m = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | ((s[g] >> 6) << 4);
  Group group;
  group.scale.fill(half_at(b) * static_cast<float>(sc));
  group.minimum = -(half_at(b + 2) * static_cast<float>(m));
  for (int j = 0; j < 32; ++j) {
    const int high = type == TensorType::q5_k ? ((b[16 + j] >> g) & 1) << 4 : 0;
    group.codes[static_cast<std::size_t>(j)] = ((qs[j] >> (4 * (g % 2))) & 15) | high;
  }
  return group;
}

Group q6_k_group(Block b, int g) {
  const int half = g / 4, quarter = g % 4;
  Group group;
  for (std::size_t part = 0; part < 2; ++part)
    group.scale[part] = half_at(b + 208) * static_cast<float>(static_cast<std::int8_t>(b[192 + 2 * g + part]));
  for (int j = 0; j < 32; ++j) {
    const int low = (b[64 * half + 32 * (quarter % 2) + j] >> (4 * (quarter / 2))) & 15;
    const int high = (b[128 + 32 * half + j] >> (2 * quarter)) & 3;
    group.codes[static_cast<std::size_t>(j)] = (low | (high << 4)) - 32;
  }
  return group;
}

Group group_of(TensorType type, Block row, std::int64_t index) {
  const auto& facts = info(type);
  const int per_block = static_cast<int>(facts.block_size) / kActivationBlock;
  const Block b = row + index / per_block * facts.block_bytes;
  const int g = static_cast<int>(index % per_block);
  if (type == TensorType::q6_k) return q6_k_group(b, g);
  if (type == TensorType::q4_k || type == TensorType::q5_k) return scaled_minimum_group(type, b, g);
  return legacy_group(type, b);
}

void quantize_row(const float* x, std::int64_t count, std::int8_t* xq, float* scales, float* sums) {
#if defined(__x86_64__)
  if (active_cpu_tier() != CpuTier::scalar) return quantize_q8_avx2(x, count, xq, scales, sums);
#endif
  quantize_q8_scalar(x, count, xq, scales, sums);
}

/// x as 8-bit codes, inside a buffer of floats.
struct QuantizedRows {
  std::int8_t* xq = nullptr;  ///< [n][cols]
  float* scales = nullptr;    ///< [n][cols / 32]
  float* sums = nullptr;

  QuantizedRows(Buffer<float>& buffer, std::int64_t n, std::int64_t cols) {
    const std::int64_t groups = n * (cols / kActivationBlock);
    const auto size = static_cast<std::size_t>(2 * groups + n * cols / 4);  // four codes in the room of a float
    if (buffer.size() < size) buffer = Buffer<float>(size);
    scales = buffer.data();
    sums = scales + groups;
    xq = reinterpret_cast<std::int8_t*>(sums + groups);
  }
};

/// Many rows: x rounded to its 8-bit values and multiplied in f32, the same arithmetic up to the order of sums.
void gemm_of_rounded(ThreadPool& pool, LinearWorkspace& workspace, const MatrixView& w, const float* x, std::int64_t n,
                     std::int64_t x_stride, float* y, std::int64_t y_stride, const float* bias) {
  const auto cols = static_cast<std::size_t>(w.cols);
  if (workspace.rounded.size() < static_cast<std::size_t>(n) * cols)
    workspace.rounded = Buffer<float>(static_cast<std::size_t>(n) * cols);
  float* rounded = workspace.rounded.data();
  pool.parallel_for((n + 15) / 16, [&](std::int64_t task, int) {
    Buffer<float> buffer;
    const QuantizedRows row(buffer, 1, w.cols);
    for (std::int64_t i = task * 16; i < std::min(n, task * 16 + 16); ++i) {
      quantize_row(x + i * x_stride, w.cols, row.xq, row.scales, row.sums);
      for (std::int64_t k = 0; k < w.cols; ++k)
        rounded[i * w.cols + k] = static_cast<float>(row.xq[k]) * row.scales[k / kActivationBlock];
    }
  });
  linear(pool, workspace, w, rounded, n, w.cols, y, y_stride, bias);
}

}  // namespace

void quantize_q8_scalar(const float* x, std::int64_t count, std::int8_t* xq, float* scales, float* sums) {
  for (std::int64_t b = 0; b < count / kActivationBlock; ++b, x += kActivationBlock, xq += kActivationBlock) {
    float largest = 0.0f, poison = 0.0f;
    for (int k = 0; k < kActivationBlock; ++k) {
      largest = std::max(largest, std::fabs(x[k]));
      poison += x[k] * 0.0f;
    }
    const bool usable = largest >= kSmallestQ8 && poison == 0.0f;
    const float inverse = usable ? 127.0f / largest : 0.0f;
    int total = 0;
    for (int k = 0; k < kActivationBlock; ++k) {
      const int code = usable ? static_cast<int>(std::nearbyint(x[k] * inverse)) : 0;
      xq[k] = static_cast<std::int8_t>(code);
      total += code;
    }
    scales[b] = (usable ? largest / 127.0f : 0.0f) + poison;
    sums[b] = scales[b] * static_cast<float>(total);
  }
}

bool has_codes(TensorType type) {
  switch (type) {
    case TensorType::q4_0:
    case TensorType::q4_1:
    case TensorType::q5_0:
    case TensorType::q5_1:
    case TensorType::q8_0:
    case TensorType::iq4_nl:
    case TensorType::q4_k:
    case TensorType::q5_k:
    case TensorType::q6_k:
      return true;
    default:
      return false;
  }
}

void dot_q8_scalar(TensorType type, const DotQ8Args& args) {
  const std::int64_t num_groups = args.cols / kActivationBlock;
  for (std::int64_t r = 0; r < args.rows; ++r) {
    float totals[kMaxDotRows] = {};
    for (std::int64_t g = 0; g < num_groups; ++g) {
      const Group group = group_of(type, args.w + r * args.row_bytes, g);
      for (int i = 0; i < args.n; ++i) {
        const std::int8_t* xq = args.xq + i * args.cols + g * kActivationBlock;
        int parts[2] = {};
        for (std::size_t j = 0; j < 32; ++j) parts[j / 16] += group.codes[j] * xq[j];
        const float products =
            group.scale[0] * static_cast<float>(parts[0]) + group.scale[1] * static_cast<float>(parts[1]);
        totals[i] += args.scales[i * num_groups + g] * products + args.sums[i * num_groups + g] * group.minimum;
      }
    }
    for (int i = 0; i < args.n; ++i) args.y[i * args.y_stride + r] = args.bias ? totals[i] + args.bias[r] : totals[i];
  }
}

void linear_q8(ThreadPool& pool, LinearWorkspace& workspace, const MatrixView& w, const float* x, std::int64_t n,
               std::int64_t x_stride, float* y, std::int64_t y_stride, const float* bias) {
  if (!has_codes(w.type)) return linear(pool, workspace, w, x, n, x_stride, y, y_stride, bias);
  if (n <= 0 || w.rows <= 0) return;
  HEADLIGHT_CHECK(w.cols > 0 && x_stride >= w.cols && y_stride >= w.rows);

  if (n >= kGemmMinRows) return gemm_of_rounded(pool, workspace, w, x, n, x_stride, y, y_stride, bias);

  const std::int64_t num_groups = w.cols / kActivationBlock;
  const QuantizedRows rows(workspace.rounded, n, w.cols);
  for (std::int64_t i = 0; i < n; ++i)
    quantize_row(x + i * x_stride, w.cols, rows.xq + i * w.cols, rows.scales + i * num_groups,
                 rows.sums + i * num_groups);

  const auto fast = type_kernels(w.type).dot_q8;
  const auto bytes = static_cast<std::int64_t>(row_bytes(w.type, w.cols));
  const std::int64_t rows_per_task = std::max<std::int64_t>(1, kTaskWeights / (w.cols * std::min<std::int64_t>(n, 4)));
  pool.parallel_for((w.rows + rows_per_task - 1) / rows_per_task, [&](std::int64_t task, int) {
    const std::int64_t first = task * rows_per_task;
    DotQ8Args args{.w = reinterpret_cast<const std::uint8_t*>(w.data) + first * bytes,
                   .row_bytes = bytes,
                   .rows = std::min(rows_per_task, w.rows - first),
                   .cols = w.cols,
                   .y_stride = y_stride,
                   .bias = bias ? bias + first : nullptr};
    for (std::int64_t i = 0; i < n; i += kMaxDotRows) {
      args.n = static_cast<int>(std::min<std::int64_t>(kMaxDotRows, n - i));
      args.xq = rows.xq + i * w.cols;
      args.scales = rows.scales + i * num_groups;
      args.sums = rows.sums + i * num_groups;
      args.y = y + i * y_stride + first;
      if (fast)
        fast(args);
      else
        dot_q8_scalar(w.type, args);
    }
  });
}

}  // namespace headlight::kernels

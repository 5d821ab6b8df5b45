// Dequantising and dot products for every block format, on the vectors of linear_vectors.inl.

#pragma once

#include "kernels/linear_dot_q8.inl"
#include "kernels/linear_tiers.h"
#include "kernels/linear_vectors.inl"

namespace headlight::kernels {
namespace {

/// The codes of group g of a span as floats.
template <class Format>
inline void span_floats(Block span, int g, Vec (&v)[kGroupVecs]) {
  if constexpr (Format::kGroupsPerBlock == 1)
    group_floats<Format>(span + g * Format::kBlockBytes, 0, v);
  else
    group_floats<Format>(span, g, v);
}

template <class Format>
void dequantize(Block row, float* out, std::int64_t cols) {
  each_span<Format>(row, cols, [&](std::int64_t k, int groups, Block span) {
    const typename Format::Header header(span, groups);
#pragma GCC unroll 8
    for (int g = 0; g < groups; ++g) {
      Vec v[kGroupVecs];
      span_floats<Format>(span, g, v);
      for (int u = 0; u < kGroupVecs; ++u) {
        const int scale = Format::kHalves ? 2 * g + (u * kLanes) / 16 : g;
        Vec value = multiply(v[u], splat(header.scale[scale]));
        if constexpr (Format::kMinimum) value = add(value, splat(header.minimum[g]));
        store(out + k + 32 * g + u * kLanes, value);
      }
    }
  });
}

/// acc + scale * <v, x> of one group, per lane.
template <class Format>
inline Vec group_products(const Vec (&v)[kGroupVecs], const float* x, const float* scales, int g, Vec acc) {
  constexpr int kParts = Format::kHalves ? 2 : 1, kPartVecs = kGroupVecs / kParts;
  for (int part = 0; part < kParts; ++part) {
    const int first = part * kPartVecs;
    Vec products = multiply(v[first], load(x + first * kLanes));
    for (int u = first + 1; u < first + kPartVecs; ++u) products = multiply_add(v[u], load(x + u * kLanes), products);
    acc = multiply_add(splat(scales[kParts * g + part]), products, acc);
  }
  return acc;
}

template <class Format, int kRows>
void dot_rows(DotArgs args) {  // a copy: stores to y cannot change it
  for (std::int64_t r = 0; r < args.rows; ++r) {
    Vec acc[kRows][2];  // even and odd groups: two chains hide the latency of the additions
    __m256 minimum[kRows];
    for (int i = 0; i < kRows; ++i) {
      acc[i][0] = acc[i][1] = splat(0.0f);
      minimum[i] = _mm256_setzero_ps();
    }
    each_span<Format>(args.w + r * args.row_bytes, args.cols, [&](std::int64_t k, int groups, Block span) {
      prefetch_ahead<Format>(span);
      const typename Format::Header header(span, groups);
#pragma GCC unroll 8
      for (int g = 0; g < groups; ++g) {
        Vec v[kGroupVecs];
        span_floats<Format>(span, g, v);
        for (int i = 0; i < kRows; ++i)
          acc[i][g % 2] =
              group_products<Format>(v, args.x + i * args.x_stride + k + 32 * g, header.scale, g, acc[i][g % 2]);
      }
      if constexpr (Format::kMinimum)
        for (int i = 0; i < kRows; ++i)
          minimum[i] = minimum_products(header.minimum, args.sums + i * args.sums_stride + k / 32, groups, minimum[i]);
    });
    for (int i = 0; i < kRows; ++i) {
      float total = sum_lanes(add(acc[i][0], acc[i][1]));
      if constexpr (Format::kMinimum) total += sum_8(minimum[i]);
      args.y[i * args.y_stride + r] = args.bias ? total + args.bias[r] : total;
    }
  }
}

// Types without blocks.
struct F32 {
  using Stored = float;
  static Vec values(const Stored* p) { return load(p); }
};
struct F16 {
  using Stored = std::uint16_t;
  static Vec values(const Stored* p) { return from_half(p); }
};
struct Bf16 {
  using Stored = std::uint16_t;
  static Vec values(const Stored* p) { return from_bfloat(p); }
};

/// The last `count` < kLanes values and zeros behind them.
template <class Stored>
struct Padded {
  Stored values[kLanes] = {};
  Padded(Block p, std::int64_t count) { __builtin_memcpy(values, p, static_cast<std::size_t>(count) * sizeof(Stored)); }
};

template <class Type>
void convert(Block row, float* out, std::int64_t cols) {
  using Stored = typename Type::Stored;
  std::int64_t k = 0;
  for (; k + kLanes <= cols; k += kLanes) store(out + k, Type::values(reinterpret_cast<const Stored*>(row) + k));
  if (k == cols) return;
  const Padded<Stored> rest(row + k * static_cast<std::int64_t>(sizeof(Stored)), cols - k);
  float values[kLanes];
  store(values, Type::values(rest.values));
  __builtin_memcpy(out + k, values, static_cast<std::size_t>(cols - k) * sizeof(float));
}

template <class Type, int kRows>
void dot_plain_rows(DotArgs args) {  // a copy: stores to y cannot change it
  using Stored = typename Type::Stored;
  constexpr int kChains = 4;
  for (std::int64_t r = 0; r < args.rows; ++r) {
    const auto* row = reinterpret_cast<const Stored*>(args.w + r * args.row_bytes);
    Vec acc[kRows][kChains];
    for (int i = 0; i < kRows; ++i)
      for (int u = 0; u < kChains; ++u) acc[i][u] = splat(0.0f);
    std::int64_t k = 0;
    for (; k + kChains * kLanes <= args.cols; k += kChains * kLanes) {
      for (int u = 0; u < kChains; ++u) {
        const Vec w = Type::values(row + k + u * kLanes);
        for (int i = 0; i < kRows; ++i)
          acc[i][u] = multiply_add(w, load(args.x + i * args.x_stride + k + u * kLanes), acc[i][u]);
      }
    }
    for (; k < args.cols; k += kLanes) {
      const std::int64_t count = args.cols - k < kLanes ? args.cols - k : kLanes;
      const Padded<Stored> rest(reinterpret_cast<Block>(row + k), count);
      const Vec w = Type::values(rest.values);
      for (int i = 0; i < kRows; ++i) {
        const Padded<float> x(reinterpret_cast<Block>(args.x + i * args.x_stride + k), count);
        acc[i][0] = multiply_add(w, load(x.values), acc[i][0]);
      }
    }
    for (int i = 0; i < kRows; ++i) {
      const float total = sum_lanes(add(add(acc[i][0], acc[i][1]), add(acc[i][2], acc[i][3])));
      args.y[i * args.y_stride + r] = args.bias ? total + args.bias[r] : total;
    }
  }
}

template <class Type>
void dot_plain(const DotArgs& args) {
  switch (args.n) {
    case 1:
      return dot_plain_rows<Type, 1>(args);
    case 2:
      return dot_plain_rows<Type, 2>(args);
    case 3:
      return dot_plain_rows<Type, 3>(args);
    default:
      return dot_plain_rows<Type, 4>(args);
  }
}

template <class Format>
void dot(const DotArgs& args) {
  switch (args.n) {
    case 1:
      return dot_rows<Format, 1>(args);
    case 2:
      return dot_rows<Format, 2>(args);
    case 3:
      return dot_rows<Format, 3>(args);
    default:
      return dot_rows<Format, 4>(args);
  }
}

template <class Format>
TypeKernels block_kernels() {
  return {dequantize<Format>, dot<Format>, dot_q8<Format>};
}

template <class Type>
TypeKernels plain_kernels() {
  return {convert<Type>, dot_plain<Type>, nullptr};
}

inline TypeKernels kernels_of(TensorType type) {
  switch (type) {
    case TensorType::f32:
      return plain_kernels<F32>();
    case TensorType::f16:
      return plain_kernels<F16>();
    case TensorType::bf16:
      return plain_kernels<Bf16>();
    case TensorType::q4_0:
      return block_kernels<Q4_0>();
    case TensorType::q4_1:
      return block_kernels<Q4_1>();
    case TensorType::q5_0:
      return block_kernels<Q5_0>();
    case TensorType::q5_1:
      return block_kernels<Q5_1>();
    case TensorType::q8_0:
      return block_kernels<Q8_0>();
    case TensorType::iq4_nl:
      return block_kernels<Iq4Nl>();
    case TensorType::iq4_xs:
      return block_kernels<Iq4Xs>();
    case TensorType::q4_k:
      return block_kernels<Q4_K>();
    case TensorType::q5_k:
      return block_kernels<Q5_K>();
    case TensorType::q6_k:
      return block_kernels<Q6_K>();
    case TensorType::q2_k:
    case TensorType::q3_k:
      break;  // rare: the reference dequantises a row, the plain dot multiplies it
  }
  return {};
}

}  // namespace
}  // namespace headlight::kernels

// Attention of few query rows (decoding): the keys are read as they are stored, once, without packing.

#pragma once

#include "kernels/attention_tile.inl"

namespace headlight::kernels {
namespace {

constexpr int kDirectRows = 4;

/// out[r] = <q_r, key> for kRows rows; lanes beyond head_dim count as 0.
template <int kRows, class T>
HEADLIGHT_INLINE void dot_rows(const float* const (&q)[kRows], const T* key, std::int64_t dim, float (&out)[kRows]) {
  F16 sums[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) sums[r] = splat(0.0f);
  std::int64_t d = 0;
  for (; d + kLanes <= dim; d += kLanes) {
    const F16 k = load(key + d);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[r] = multiply_add(load(q[r] + d), k, sums[r]);
  }
  if (d < dim) {
    const F16 k = load_some(key + d, dim - d);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[r] = multiply_add(load_some(q[r] + d, dim - d), k, sums[r]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) out[r] = sum_lanes(sums[r]);
}

/// scores[r][j] for kRows rows and keys [begin, end); k points at key 0.
template <int kRows, class T>
void dot_keys(const float* q, std::int64_t dim, const T* k, std::int64_t begin, std::int64_t end, float* scores,
              std::int64_t stride) {
  const float* rows[kRows];
  for (int r = 0; r < kRows; ++r) rows[r] = q + r * dim;
  for (std::int64_t j = begin; j < end; ++j) {
    float dots[kRows];
    dot_rows<kRows>(rows, k + j * dim, dim, dots);
    for (int r = 0; r < kRows; ++r) scores[r * stride + j] = dots[r];
  }
}

template <class T>
void direct_scores_of(const AttentionCall& call, const AttentionUnit& unit, const T* k, std::int64_t key_begin,
                      std::int64_t key_end, const float* q, float* scores, std::int64_t stride) {
  const std::int64_t dim = call.in.head_dim, heads = unit.heads();
  for (std::int64_t i = 0; i < call.in.num_queries; ++i) {
    const AttentionRow visible = visible_keys(call, i);
    const std::int64_t begin = larger(key_begin, visible.begin), end = smaller(key_end, visible.end);
    for (std::int64_t h = 0; h < heads; h += kDirectRows)
      with_constant<kDirectRows>(smaller(kDirectRows, heads - h), [&](auto rows) {
        const std::int64_t r = i * heads + h;
        dot_keys<decltype(rows)::value>(q + r * dim, dim, k, begin, end, scores + r * stride, stride);
      });
  }
}

void direct_scores(const AttentionCall& call, const AttentionUnit& unit, std::int64_t key_begin, std::int64_t key_end,
                   const float* q, float* scores, std::int64_t stride) {
  const std::int64_t at = unit.kv_head * call.in.kv_stride;
  if (call.in.kv_dtype == DType::bf16)
    direct_scores_of(call, unit, static_cast<const std::uint16_t*>(call.in.k_gjd) + at, key_begin, key_end, q, scores,
                     stride);
  else
    direct_scores_of(call, unit, static_cast<const float*>(call.in.k_gjd) + at, key_begin, key_end, q, scores, stride);
}

void direct_row(const AttentionCall& call, int head, std::int64_t i, float* s, std::int64_t stride, AttentionRow& row,
                const AttentionScratch& scratch, float* received, float* tail) {
  if (call.statistics == nullptr) return finish_row<false>(call, head, i, s, 0, row, nullptr, 0);
  finish_row<true>(call, head, i, s, 0, row, scratch.sums, 0);
  write_rows(call, head, i, 1, *scratch.sums, 0);
  tap_row(call, head, call.in.query_start + i, s, 0, row, scratch);
  accumulate_columns(call, head, i, 1, s, stride, 0, &row, 1, received, tail, scratch);
}

void direct_rows(const AttentionCall& call, const AttentionUnit& unit, int head, const AttentionScratch& scratch,
                 std::int64_t stride, const ColumnPartials& partials) {
  const int h = unit.head_begin + head;
  for (std::int64_t i = 0; i < call.in.num_queries; ++i) {
    const std::int64_t r = i * unit.heads() + head;
    float* const s = scratch.scores + r * stride;
    AttentionRow& row = scratch.rows[r];
    row = visible_keys(call, i);
    direct_row(call, h, i, s, stride, row, scratch,
               partials.received == nullptr ? nullptr : partials.received + head * partials.stride,
               partials.tail == nullptr ? nullptr : partials.tail + head * partials.stride);
    if (call.in.program_h != nullptr)
      scale_row_values(call.in.program_h[h], call.in.query_start + i, {row.begin, row.end}, s + row.begin);
  }
}

/// out[r][:] += sum_j p[r][j] v[j][:], keys [begin, end); p and v point at key 0.
template <int kRows, class T>
void weigh_values(const float* p, std::int64_t stride, const T* v, std::int64_t dim, std::int64_t begin,
                  std::int64_t end, float* out, std::int64_t out_stride) {
  for (std::int64_t block = begin; block < end; block = (block / kValueBlock + 1) * kValueBlock) {
    const std::int64_t stop = smaller(end, (block / kValueBlock + 1) * kValueBlock);
    for (std::int64_t d = 0; d < dim; d += kLanes) {
      F16 sums[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[r] = splat(0.0f);
      for (std::int64_t j = block; j < stop; ++j) {
        const F16 x = d + kLanes <= dim ? load(v + j * dim + d) : load_some(v + j * dim + d, dim - d);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) sums[r] = multiply_add(splat(p[r * stride + j]), x, sums[r]);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        float* const at = out + r * out_stride + d;
        store(at, add(load(at), sums[r]));
      }
    }
  }
}

template <class T>
void direct_values_of(const AttentionCall& call, const AttentionUnit& unit, const T* v, std::int64_t key_begin,
                      std::int64_t key_end, const float* p, std::int64_t stride, const AttentionRow* rows, float* out) {
  const std::int64_t heads = unit.heads();
  for (std::int64_t n = 0; n < call.in.num_queries * heads * call.dim_padded; n += kLanes) store(out + n, splat(0.0f));
  for (std::int64_t i = 0; i < call.in.num_queries; ++i)
    for (std::int64_t h = 0; h < heads;) {
      const std::int64_t r = i * heads + h;
      // Heads of one query see the same keys, but a row without any finite score has become empty.
      std::int64_t count = 1;
      while (count < kDirectRows && h + count < heads && rows[r + count].begin == rows[r].begin &&
             rows[r + count].end == rows[r].end)
        ++count;
      with_constant<kDirectRows>(count, [&](auto group) {
        weigh_values<decltype(group)::value>(p + r * stride, stride, v, call.in.head_dim,
                                             larger(key_begin, rows[r].begin), smaller(key_end, rows[r].end),
                                             out + r * call.dim_padded, call.dim_padded);
      });
      h += count;
    }
}

void direct_values(const AttentionCall& call, const AttentionUnit& unit, std::int64_t key_begin, std::int64_t key_end,
                   const float* p, std::int64_t stride, const AttentionRow* rows, float* out) {
  const std::int64_t at = unit.kv_head * call.in.kv_stride;
  if (call.in.kv_dtype == DType::bf16)
    direct_values_of(call, unit, static_cast<const std::uint16_t*>(call.in.v_gjd) + at, key_begin, key_end, p, stride,
                     rows, out);
  else
    direct_values_of(call, unit, static_cast<const float*>(call.in.v_gjd) + at, key_begin, key_end, p, stride, rows,
                     out);
}

template <class T>
void scores_row_of(const AttentionInputs& in, const T* k, const float* q, int head, std::int64_t position,
                   std::int64_t begin, std::int64_t end, float* scores) {
  const float factor = in.soft_cap > 0.0f ? in.scale / in.soft_cap : in.scale;
  for (std::int64_t j = begin; j < end; ++j) {
    float dot[1];
    dot_rows<1>({q}, k + j * in.head_dim, in.head_dim, dot);
    scores[j - begin] = dot[0] * factor;
  }
  const KeyRange keys{begin, end};
  if (in.program_h != nullptr) scale_row_keys(in.program_h[head], position, keys, scores);
  for (std::int64_t n = 0; in.soft_cap > 0.0f && n < end - begin; n += kLanes) {
    const std::int64_t count = smaller(kLanes, end - begin - n);
    const F16 x = load_some(scores + n, count);
    store_some(scores + n, multiply(splat(in.soft_cap), tanh_of(x)), count);
  }
  if (in.program_h != nullptr) change_row_scores(in.program_h[head], position, keys, scores, 1.0f);
}

void scores_row(const AttentionInputs& in, int head, std::int64_t row, KeyRange keys, float* scores) {
  const std::int64_t kv_head = std::int64_t{head} * in.num_kv_heads / in.num_heads, at = kv_head * in.kv_stride;
  const float* const q = in.q_ihd + row * in.q_stride + std::int64_t{head} * in.head_dim;
  if (in.kv_dtype == DType::bf16)
    scores_row_of(in, static_cast<const std::uint16_t*>(in.k_gjd) + at, q, head, in.query_start + row, keys.begin,
                  keys.end, scores);
  else
    scores_row_of(in, static_cast<const float*>(in.k_gjd) + at, q, head, in.query_start + row, keys.begin, keys.end,
                  scores);
}

/// Keys as [16 keys][head_dim] to [head_dim][16]; missing keys are 0.
template <class T>
void pack_keys(const T* k, std::int64_t dim, std::int64_t count, float* packed) {
  for (std::int64_t d = 0; d < dim; d += kLanes) {
    const std::int64_t width = smaller(kLanes, dim - d);
    F16 rows[kLanes];
    for (std::int64_t r = 0; r < kLanes; ++r) {
      if (r >= count)
        rows[r] = splat(0.0f);
      else
        rows[r] = width == kLanes ? load(k + r * dim + d) : load_some(k + r * dim + d, width);
    }
    transpose(rows);
    for (std::int64_t c = 0; c < width; ++c) store(packed + (d + c) * kLanes, rows[c]);
  }
}

template <class T>
void pack_of(const AttentionCall& call, const T* k, const T* v, std::int64_t key_begin, std::int64_t key_end,
             float* k_packed, float* values) {
  const std::int64_t dim = call.in.head_dim;
  for (std::int64_t j = key_begin; j < key_end; j += kLanes)
    pack_keys(k + j * dim, dim, smaller(kLanes, key_end - j), k_packed + j * dim);
  for (std::int64_t j = key_begin; j < key_end && values != nullptr; ++j)
    for (std::int64_t d = 0; d < dim; d += kLanes) {
      const F16 x = d + kLanes <= dim ? load(v + j * dim + d) : load_some(v + j * dim + d, dim - d);
      store(values + j * call.dim_padded + d, x);
    }
}

void pack(const AttentionCall& call, int kv_head, std::int64_t key_begin, std::int64_t key_end, float* k_packed,
          float* values) {
  const std::int64_t at = kv_head * call.in.kv_stride;
  if (call.in.kv_dtype == DType::bf16)
    pack_of(call, static_cast<const std::uint16_t*>(call.in.k_gjd) + at,
            static_cast<const std::uint16_t*>(call.in.v_gjd) + at, key_begin, key_end, k_packed, values);
  else
    pack_of(call, static_cast<const float*>(call.in.k_gjd) + at, static_cast<const float*>(call.in.v_gjd) + at,
            key_begin, key_end, k_packed, values);
}

void add_all(float* to, const float* from, std::int64_t count) {
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) store(to + k, add(load(to + k), load(from + k)));
  for (; k < count; ++k) to[k] += from[k];
}

void exp2_all(float* x, std::int64_t count) {
  for (std::int64_t k = 0; k < count; k += kLanes) {
    F16 clamped;
    store(x + k, exp2_negative(load(x + k), clamped));
  }
}

void tanh_all(float* x, std::int64_t count) {
  for (std::int64_t k = 0; k < count; k += kLanes) store(x + k, tanh_of(load(x + k)));
}

constexpr AttentionLoops kLoops{attend,     direct_scores, direct_rows, direct_values, scale_queries,
                                scores_row, pack,          add_all,     exp2_all,      tanh_all};

}  // namespace
}  // namespace headlight::kernels

#include "core/engine/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kCacheRows = 256;

void store_rows(DType dtype, const float* src, std::int64_t stride, std::int64_t rows, std::int64_t head_dim,
                std::byte* dst) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const float* from = src + i * stride;
    if (dtype == DType::f32) {
      std::memcpy(dst + i * head_dim * std::int64_t{sizeof(float)}, from,
                  static_cast<std::size_t>(head_dim) * sizeof(float));
    } else {
      auto* to = reinterpret_cast<std::uint16_t*>(dst) + i * head_dim;
      for (std::int64_t d = 0; d < head_dim; ++d) to[d] = f32_to_bf16(from[d]);
    }
  }
}

}  // namespace

KvCache::KvCache(const formats::ModelSpec& spec, DType dtype, bool keep_layers)
    : dtype_(dtype),
      keep_layers_(keep_layers),
      num_kv_heads_(spec.num_kv_heads),
      head_dim_(spec.head_dim),
      slots_(static_cast<std::size_t>(keep_layers ? spec.num_layers : 1)) {
  if (dtype != DType::f32 && dtype != DType::bf16)
    throw Error(Errc::unsupported, "the KV cache can be f32 or bf16, not " + std::string(to_string(dtype)));
}

Buffer<std::byte> KvCache::grown(const Buffer<std::byte>& old, std::int64_t rows) const {
  const std::size_t row = static_cast<std::size_t>(head_dim_) * size_of(dtype_);
  Buffer<std::byte> out(static_cast<std::size_t>(num_kv_heads_) * static_cast<std::size_t>(rows) * row);
  const std::size_t kept = static_cast<std::size_t>(capacity_) * row;
  for (std::size_t g = 0; g < static_cast<std::size_t>(num_kv_heads_) && kept > 0; ++g)
    std::memcpy(out.data() + g * static_cast<std::size_t>(rows) * row, old.data() + g * kept, kept);
  return out;
}

void KvCache::reserve(std::int64_t rows) {
  if (rows <= capacity_) return;
  for (Slot& slot : slots_) {
    slot.k = grown(slot.k, rows);
    slot.v = grown(slot.v, rows);
  }
  capacity_ = rows;
}

std::uint64_t KvCache::bytes() const {
  std::uint64_t sum = 0;
  for (const Slot& slot : slots_) sum += slot.k.size() + slot.v.size();
  return sum;
}

void KvCache::store(ThreadPool& pool, int layer, std::int64_t first, std::int64_t n, const float* k_igd,
                    const float* v_igd, std::int64_t stride) {
  HEADLIGHT_CHECK(first >= 0 && first + n <= capacity_);
  Slot& slot = slots_[keep_layers_ ? static_cast<std::size_t>(layer) : 0];
  const auto element = static_cast<std::int64_t>(size_of(dtype_));
  const std::int64_t blocks = (n + kCacheRows - 1) / kCacheRows;
  const auto store_block = [&](std::int64_t task) {
    const std::int64_t g = task / blocks, begin = task % blocks * kCacheRows;
    const std::int64_t rows = std::min(kCacheRows, n - begin);
    const std::int64_t src = begin * stride + g * head_dim_;
    const std::int64_t dst = (g * capacity_ + first + begin) * head_dim_ * element;
    store_rows(dtype_, k_igd + src, stride, rows, head_dim_, slot.k.data() + dst);
    store_rows(dtype_, v_igd + src, stride, rows, head_dim_, slot.v.data() + dst);
  };
  const std::int64_t tasks = num_kv_heads_ * blocks;
  if (n < kCacheRows) {
    for (std::int64_t task = 0; task < tasks; ++task) store_block(task);
  } else {
    pool.parallel_for(tasks, [&](std::int64_t task, int) { store_block(task); });
  }
}

}  // namespace headlight::engine

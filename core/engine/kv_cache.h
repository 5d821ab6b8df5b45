#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/dtype.h"
#include "base/thread_pool.h"
#include "core/formats/model_spec.h"

namespace headlight::engine {

/// Rotated keys and values of every layer, [L][G][capacity][D] in f32 or bf16. Grows; rows are overwritten in place.
class KvCache {
 public:
  /// @param keep_layers  false: one layer's worth of memory is shared by all layers. Enough for a prefill that nothing
  ///                     follows, where a layer's keys are dead once the layer is done.
  KvCache(const formats::ModelSpec& spec, DType dtype, bool keep_layers = true);

  /// Room for `rows` rows in every layer; exactly that many, so that a known length wastes nothing.
  void reserve(std::int64_t rows);
  std::int64_t capacity() const { return capacity_; }
  std::uint64_t bytes() const;

  /// Writes rows [first, first + n) of a layer from k_igd, v_igd [n][stride]. The values must already be representable
  /// in the cache's type, so that what is stored is what was given.
  void store(ThreadPool& pool, int layer, std::int64_t first, std::int64_t n, const float* k_igd, const float* v_igd,
             std::int64_t stride);

  DType dtype() const { return dtype_; }
  const void* keys(int layer) const { return slot(layer).k.data(); }
  const void* values(int layer) const { return slot(layer).v.data(); }
  std::int64_t head_stride() const { return capacity_ * head_dim_; }  ///< elements between KV heads

 private:
  struct Slot {
    Buffer<std::byte> k, v;  // [G][capacity][D]
  };
  const Slot& slot(int layer) const { return slots_[keep_layers_ ? static_cast<std::size_t>(layer) : 0]; }
  Buffer<std::byte> grown(const Buffer<std::byte>& old, std::int64_t rows) const;

  DType dtype_;
  bool keep_layers_;
  int num_kv_heads_, head_dim_;
  std::int64_t capacity_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace headlight::engine

#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "core/engine/cuda_model.h"
#include "core/engine/runner.h"

namespace headlight::engine {

/// What passes of one sequence on a device find out for their observers. Every layer is queued, then handed over while
/// the device computes the next one: results go to one of two stagings by a stream of their own.
class CudaFacts {
 public:
  static constexpr int kStagings = 2;
  static constexpr std::int64_t kMassiveCapacity = 1 << 20;  ///< entries of one level
  static constexpr std::int64_t kMapElements = 16 << 20;     ///< 64 MiB of map rows at a time

  CudaFacts(const Engine::Impl& engine, const CudaModel& model, const SequenceUse& use);
  CudaFacts(const CudaFacts&) = delete;
  CudaFacts& operator=(const CudaFacts&) = delete;
  ~CudaFacts();

  /// A pass with an observer begins. @param first_bad  device: see throw_if_not_finite()
  void begin(const ForwardRequest& request, const int* first_bad);

  /// Queues the facts of the rows that enter a layer, x_id [n][d]; opens the staging of the level.
  void hidden(int level, const float* x_id);

  /// What the observer wants of the layer whose staging is open; null = plain attention.
  const AttentionWish* wish(int layer) { return staging(layer).wish; }

  /// Queues attention with all that is wished for.
  void attention(int layer, const AttentionWish& wish, const cuda::AttentionInputs& in, void* out_ihd);

  /// Queues the copies of the level.
  void close(int level);

  /// Waits for the level before this one and hands it over.
  void hand_over_before(int level);

  /// Hands over the last level.
  void finish();

  /// See Runner::finish_columns().
  void finish_columns();

 private:
  /// Where the results of a level lie, in elements of 4 bytes, on the device and on the host.
  struct Layout {
    std::int64_t hidden = 0, counts = 0, rows = 0, norms = 0, columns = 0, topk = 0, size = 0;
  };
  struct Staging {
    Staging(int index, PinnedPool& pool)
        : host(pool), massive_host(pool), states(pool), q(pool), k(pool), v(pool), computed(index), copied(index) {}
    DeviceBuffer device, massive;
    PinnedBuffer host, massive_host, states, q, k, v;
    DeviceEvent computed, copied;
    Layout layout;
    int level = -1;  ///< -1 = nothing to hand over
    const AttentionWish* wish = nullptr;
    cuda::AttentionInputs in;

    float* on_device(std::int64_t at) const { return device.as<float>() + at; }
    float* on_host(std::int64_t at) const { return host.as<float>() + at; }
  };
  struct LaterColumns {
    DeviceBuffer memory;
    ColumnArrays* target = nullptr;  ///< null = nothing was added
  };

  Staging& staging(int level) { return stagings_[static_cast<std::size_t>(level % kStagings)]; }
  Layout layout_for(const AttentionWish* wish) const;
  void ensure_memory(Staging& to);

  void queue_norms(Staging& to, int layer);
  void queue_topk(Staging& to);
  void upload_topk_rows(const Staging& to);
  float* columns_on_device(Staging& to, int layer);
  void queue_operands(Staging& to);

  void hand_over(Staging& from);
  void hand_over_hidden(Staging& from);
  void hand_over_attention(Staging& from);
  std::vector<capture::MassiveActivation> massive_of(Staging& from);
  void widen_operands(const Staging& from, capture::LayerRows& rows);
  void collect_topk(const Staging& from);
  void drain() noexcept;

  const Engine::Impl& engine_;
  const CudaModel& model_;
  const cuda::CudaKernels& table_;
  const cuda::FactKernels& facts_;
  const bool rows_follow_;
  const cuda::Stream stream_;  ///< computes
  const cuda::Stream copies_;
  std::int64_t d_, q_size_, kv_size_, n_ = 0;
  const ForwardRequest* request_ = nullptr;
  const int* first_bad_ = nullptr;
  std::array<Staging, kStagings> stagings_;
  DeviceBuffer first_states_, medians_, largest_, median_scratch_, attention_scratch_, groups_;
  DeviceBuffer map_rows_, spans_, map_;
  bool groups_are_there_ = false;
  std::vector<cuda::KeySpan> uploaded_spans_;
  std::vector<LaterColumns> later_;  // [L]
  Buffer<float> q_ihd_, k_igd_, v_igd_;
  std::vector<capture::TopkRow> topk_;
};

/// Throws for the first place with NaN or Inf: 0 = embeddings, l + 1 = the residual stream after layer l.
/// @param first_bad  smallest bad position of each place; INT_MAX = none
/// @error failed
void throw_if_not_finite(std::span<const int> first_bad);

}  // namespace headlight::engine

#include "core/engine/runner.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/cuda_runner.h"
#include "core/engine/layer_facts.h"
#include "kernels/row_program.h"

namespace headlight::engine {
namespace {

class CpuRunner final : public Runner {
 public:
  CpuRunner(const Engine::Impl& engine, const SequenceUse& use)
      : engine_(engine), cache_(engine.spec(), engine.options.kv_dtype, use.rows_follow), facts_(engine, use) {}

  std::int64_t capacity() const override { return cache_.capacity(); }
  void reserve(std::int64_t rows) override { cache_.reserve(rows); }
  void forward(const ForwardRequest& request) override { forward_layers(engine_, workspace_, cache_, facts_, request); }
  void finish_columns() override {}  // they always are
  void map_rows(const MapRows& rows, float* attn_ij) override;
  void logits(std::int64_t first, std::int64_t n, std::int64_t start, float* logits) override {
    output_logits(engine_, workspace_, workspace_.x_id.data() + first * engine_.spec().hidden_size, n, start, logits);
  }

 private:
  const Engine::Impl& engine_;
  KvCache cache_;
  Workspace workspace_;
  LayerFacts facts_;
};

void CpuRunner::map_rows(const MapRows& rows, float* attn_ij) {
  kernels::AttentionInputs in =
      attention_inputs(engine_, cache_, rows.layer, rows.first_row, rows.num_rows, rows.q_ihd, rows.q_stride);
  in.num_keys = rows.num_keys;
  in.program_h = rows.program_h;
  engine_.pool.parallel_for(rows.num_rows, [&](std::int64_t row, int) {
    float* attn_j = attn_ij + row * in.num_keys;
    std::fill_n(attn_j, in.num_keys, 0.0f);
    const kernels::KeyRange keys = in.mask.visible(in.query_start + row, in.num_keys);
    if (keys.size() == 0) return;
    kernels::attention_scores_row(in, rows.head, row, keys, attn_j + keys.begin);
    for (std::int64_t j = keys.begin; j < keys.end; ++j) attn_j[j] = std::exp(attn_j[j] - rows.lse_i[row]);
    if (rows.program_h != nullptr)
      kernels::change_row_weights(rows.program_h[rows.head], in.query_start + row, keys, attn_j + keys.begin);
  });
}

}  // namespace

void require_cpu(const Engine::Impl& engine, std::string_view what) {
  if (engine.cuda != nullptr)
    throw Error(Errc::unsupported, fmt::format("{} on CUDA are not in this version", what),
                {.file = {}, .field = "--device", .offset = {}, .hint = "use --device cpu"});
}

std::unique_ptr<Runner> make_runner(const Engine::Impl& engine, const SequenceUse& use) {
  if (engine.cuda != nullptr) return make_cuda_runner(engine, *engine.cuda, use);
  return std::make_unique<CpuRunner>(engine, use);
}

}  // namespace headlight::engine

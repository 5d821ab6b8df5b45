#include "core/engine/row_steps.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/forward.h"
#include "core/engine/rope.h"

namespace headlight::engine {
namespace {

using formats::BlockKind;
using formats::ModelSpec;

constexpr std::int64_t kEmbeddingRowsPerTask = 32;
constexpr std::int64_t kFiniteRowsPerTask = 128;

// x * 0 is 0 for every finite x and NaN otherwise; eight independent sums keep the adder busy.
bool all_finite(const float* x, std::int64_t count) {
  float sums[8] = {};
  std::int64_t k = 0;
  for (; k + 8 <= count; k += 8)
    for (int lane = 0; lane < 8; ++lane) sums[lane] += x[k + lane] * 0.0f;
  for (; k < count; ++k) sums[0] += x[k] * 0.0f;
  float sum = 0.0f;
  for (const float lane : sums) sum += lane;
  return sum == 0.0f;
}

[[noreturn]] void report_nonfinite(const float* x, std::int64_t n, std::int64_t width, std::int64_t start,
                                   const std::string& tensor) {
  std::int64_t count = 0, first = -1;
  for (std::int64_t k = 0; k < n * width; ++k) {
    if (std::isfinite(x[k])) continue;
    if (first < 0) first = k / width;
    ++count;
  }
  throw Error(Errc::failed,
              fmt::format("NaN or Inf appeared in {}: {} values, first at token {}", tensor, count, start + first));
}

void round_values(ThreadPool& pool, DType dtype, float* values, std::int64_t count) {
  if (dtype == DType::f32) return;
  constexpr std::int64_t kValuesPerTask = 1 << 15;
  pool.parallel_for((count + kValuesPerTask - 1) / kValuesPerTask, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(count, (task + 1) * kValuesPerTask);
    for (std::int64_t k = task * kValuesPerTask; k < end; ++k)
      values[k] = dtype == DType::bf16 ? bf16_to_f32(f32_to_bf16(values[k])) : f16_to_f32(f32_to_f16(values[k]));
  });
}

std::vector<std::int64_t> row_positions(std::span<const RowRun> runs) {
  std::vector<std::int64_t> position_i;
  for (const RowRun& run : runs)
    for (std::int64_t r = 0; r < run.rows; ++r) position_i.push_back(run.position + r);
  return position_i;
}

}  // namespace

void check_finite(const Engine::Impl& engine, const float* x, std::int64_t n, std::int64_t width, std::int64_t start,
                  const std::function<std::string()>& what) {
  std::atomic<bool> finite{true};
  if (n < kFiniteRowsPerTask) {
    finite = all_finite(x, n * width);
  } else {
    engine.pool.parallel_for((n + kFiniteRowsPerTask - 1) / kFiniteRowsPerTask, [&](std::int64_t task, int) {
      const std::int64_t begin = task * kFiniteRowsPerTask, rows = std::min(kFiniteRowsPerTask, n - begin);
      if (!all_finite(x + begin * width, rows * width)) finite = false;
    });
  }
  if (!finite) report_nonfinite(x, n, width, start, what());
}

RowSteps::RowSteps(const Engine::Impl& engine, Workspace& workspace, std::span<const RowRun> runs, std::stop_token stop)
    : engine_(engine),
      spec_(engine.spec()),
      workspace_(workspace),
      stop_(std::move(stop)),
      runs_(runs.begin(), runs.end()),
      position_i_(row_positions(runs)),
      n_(std::ssize(position_i_)),
      d_(spec_.hidden_size),
      q_size_(std::int64_t{spec_.num_heads} * spec_.head_dim),
      kv_size_(std::int64_t{spec_.num_kv_heads} * spec_.head_dim) {
  const std::int64_t block = std::min(n_, kRowBlock);
  x_id = ensure(workspace.x_id, n_ * d_);
  q_ihd = ensure(workspace.q_ihd, n_ * q_size_);
  k_igd = ensure(workspace.k_igd, n_ * kv_size_);
  v_igd = ensure(workspace.v_igd, n_ * kv_size_);
  attn_ihd = ensure(workspace.attn_ihd, n_ * q_size_);
  norm_id_ = ensure(workspace.norm_id, block * d_);
  out_id_ = ensure(workspace.out_id, block * d_);
  prepare_rope();
}

void RowSteps::embed(std::span<const std::int32_t> ids) {
  const kernels::MatrixView& positions = engine_.weights.position_embedding;
  const auto embed_rows = [&](std::int64_t begin, std::int64_t end) {
    Buffer<float> position(positions.rows > 0 ? static_cast<std::size_t>(d_) : 0);
    for (std::int64_t i = begin; i < end; ++i) {
      float* row = x_id + i * d_;
      kernels::dequantize_rows(engine_.weights.token_embedding, ids[static_cast<std::size_t>(i)], 1, row);
      if (engine_.embedding_scale != 1.0f)
        for (std::int64_t e = 0; e < d_; ++e) row[e] *= engine_.embedding_scale;
      if (positions.rows == 0) continue;
      kernels::dequantize_rows(positions, position_i_[static_cast<std::size_t>(i)], 1, position.data());
      for (std::int64_t e = 0; e < d_; ++e) row[e] += position[static_cast<std::size_t>(e)];
    }
  };
  if (n_ < kEmbeddingRowsPerTask) {
    embed_rows(0, n_);
  } else {
    engine_.pool.parallel_for((n_ + kEmbeddingRowsPerTask - 1) / kEmbeddingRowsPerTask, [&](std::int64_t task, int) {
      embed_rows(task * kEmbeddingRowsPerTask, std::min(n_, (task + 1) * kEmbeddingRowsPerTask));
    });
  }
  for_edited(0, n_, [&](Edits& edits, std::int64_t position, std::int64_t row, std::int64_t) {
    if (position == 0) edits.embedded(x_id + row * d_);
  });
  check([] { return std::string("the embeddings"); });
}

/// Calls body(edits, position of the first row, that row counted from `first`, number of rows) for the parts of runs in
/// [first, first + rows) that are changed.
template <class Body>
void RowSteps::for_edited(std::int64_t first, std::int64_t rows, const Body& body) {
  std::int64_t begin = 0;
  for (std::size_t k = 0; k < edits_r_.size(); begin += runs_[k++].rows) {
    const std::int64_t from = std::max(begin, first), to = std::min(begin + runs_[k].rows, first + rows);
    if (from < to && edits_r_[k] != nullptr)
      body(*edits_r_[k], runs_[k].position + from - begin, from - first, to - from);
  }
}

void RowSteps::enter_layer(int number) {
  for_edited(0, n_, [&](Edits& edits, std::int64_t position, std::int64_t row, std::int64_t count) {
    edits.residual(number, position, count, x_id + row * d_);
    if (position == 0) edits.entering(engine_.pool, number, x_id + row * d_);
  });
}

void RowSteps::check(const std::function<std::string()>& what) const {
  check_finite(engine_, x_id, n_, d_, position_i_.front(), what);
}

void RowSteps::prepare_rope() {
  if (spec_.rotary_dim == 0) return;
  const auto fill = [&](const formats::RopeSpec& rope, Buffer<float>& table) {
    float* rows = ensure(table, n_ * spec_.rotary_dim);
    for (const RowRun& run : runs_) {
      const RopeFrequencies frequencies = rope_frequencies(rope, spec_.rotary_dim, spec_.context_length, run.length);
      fill_rope_table(engine_.pool, frequencies, run.position, run.rows, rows);
      rows += run.rows * spec_.rotary_dim;
    }
  };
  const auto sliding_layers = std::count(spec_.is_sliding.begin(), spec_.is_sliding.end(), 1);
  if (sliding_layers < spec_.num_layers) fill(spec_.rope, workspace_.rope_full);
  if (sliding_layers > 0) fill(spec_.rope_sliding, workspace_.rope_sliding);
}

void RowSteps::project_qkv(const LayerWeights& layer) {
  for_row_blocks(n_, [&](std::int64_t first, std::int64_t rows) {
    const float* in = x_id + first * d_;
    if (spec_.block != BlockKind::post_norm) {
      normalize(engine_, layer.attn_norm, in, norm_id_, rows, d_);
      in = norm_id_;
    }
    project(engine_, workspace_, layer.q, in, rows, d_, q_ihd + first * q_size_, q_size_);
    project(engine_, workspace_, layer.k, in, rows, d_, k_igd + first * kv_size_, kv_size_);
    project(engine_, workspace_, layer.v, in, rows, d_, v_igd + first * kv_size_, kv_size_);
  });
}

void RowSteps::rotate(int number, const LayerWeights& layer) {
  const float eps = static_cast<float>(spec_.norm_eps);
  if (spec_.qk_norm == ModelSpec::QkNorm::per_head) {
    kernels::rms_norm_heads(engine_.pool, q_ihd, n_, q_size_, spec_.num_heads, spec_.head_dim, layer.q_norm, eps);
    kernels::rms_norm_heads(engine_.pool, k_igd, n_, kv_size_, spec_.num_kv_heads, spec_.head_dim, layer.k_norm, eps);
  } else if (spec_.qk_norm == ModelSpec::QkNorm::whole) {
    kernels::rms_norm(engine_.pool, q_ihd, q_ihd, n_, q_size_, layer.q_norm, eps);
    kernels::rms_norm(engine_.pool, k_igd, k_igd, n_, kv_size_, layer.k_norm, eps);
  }
  if (spec_.rotary_dim == 0) return;
  const float* table = is_sliding_layer(spec_, number) ? workspace_.rope_sliding.data() : workspace_.rope_full.data();
  kernels::rope(engine_.pool, q_ihd, n_, q_size_, spec_.num_heads, spec_.head_dim, spec_.rotary_dim, table);
  kernels::rope(engine_.pool, k_igd, n_, kv_size_, spec_.num_kv_heads, spec_.head_dim, spec_.rotary_dim, table);
}

void RowSteps::round_operands(DType operand_dtype, DType cache_dtype) {
  round_values(engine_.pool, operand_dtype, q_ihd, n_ * q_size_);
  for (const DType dtype : {operand_dtype, cache_dtype}) {
    round_values(engine_.pool, dtype, k_igd, n_ * kv_size_);
    round_values(engine_.pool, dtype, v_igd, n_ * kv_size_);
  }
}

void RowSteps::finish_layer(int number, const LayerWeights& layer) {
  for_row_blocks(n_, [&](std::int64_t first, std::int64_t rows) {
    throw_if_stopped(stop_);
    add_attention(number, layer, first, rows);
    add_feed_forward(number, layer, first, rows);
  });
}

void RowSteps::add_attention(int number, const LayerWeights& layer, std::int64_t first, std::int64_t rows) {
  project(engine_, workspace_, layer.output, attn_ihd + first * q_size_, rows, q_size_, out_id_, d_);
  if (spec_.block != BlockKind::pre_norm) normalize(engine_, layer.post_attention_norm, out_id_, out_id_, rows, d_);
  change_block(number, intervention::BlockStep::Block::attention, first, rows);
  kernels::add(engine_.pool, x_id + first * d_, out_id_, rows * d_);
}

void RowSteps::add_feed_forward(int number, const LayerWeights& layer, std::int64_t first, std::int64_t rows) {
  float* x = x_id + first * d_;
  const float* in = x;
  if (spec_.block != BlockKind::post_norm) {
    normalize(engine_, layer.ffn_norm, x, norm_id_, rows, d_);
    in = norm_id_;
  }
  UnitHook units;
  if (changes_units(number))
    units = [&](float* h_if, std::int64_t width) { change_units(number, first, rows, h_if, width); };
  feed_forward(engine_, workspace_, layer, in, rows, out_id_, units);
  if (spec_.block != BlockKind::pre_norm) normalize(engine_, layer.post_ffw_norm, out_id_, out_id_, rows, d_);
  change_block(number, intervention::BlockStep::Block::feed_forward, first, rows);
  kernels::add(engine_.pool, x, out_id_, rows * d_);
}

void RowSteps::change_block(int number, intervention::BlockStep::Block block, std::int64_t first, std::int64_t rows) {
  for_edited(first, rows, [&](Edits& edits, std::int64_t position, std::int64_t row, std::int64_t count) {
    edits.block_output(number, block, position, count, out_id_ + row * d_);
  });
}

bool RowSteps::changes_units(int number) const {
  return std::any_of(edits_r_.begin(), edits_r_.end(),
                     [&](const Edits* edits) { return edits != nullptr && edits->changes_units(number); });
}

void RowSteps::change_units(int number, std::int64_t first, std::int64_t rows, float* h_if, std::int64_t width) {
  for_edited(first, rows, [&](Edits& edits, std::int64_t position, std::int64_t row, std::int64_t count) {
    if (edits.changes_units(number)) edits.hidden_units(number, position, count, h_if + row * width, width);
  });
}

}  // namespace headlight::engine

#include "core/engine/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "core/engine/session_impl.h"
#include "kernels/row_program_ref.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kRowsPerBlock = 64;

// Attention as its definition reads: one row of scores in double, one softmax, one weighted sum.
class ReferenceAttention final : public AttentionHook {
 public:
  ReferenceAttention(const ReferenceOptions& options, const ReferenceVisitor& visit, std::stop_source& end)
      : options_(options), visit_(visit), end_(end) {}

  void attention(int layer, ThreadPool& pool, kernels::AttentionWorkspace& /*workspace*/,
                 const AttentionCall& call) override {
    const std::int64_t n = call.in.num_queries;
    Buffer<double> attn_ij(static_cast<std::size_t>(std::min(kRowsPerBlock, n) * n));
    double absmax_i[kRowsPerBlock];
    for (int head = 0; head < call.in.num_heads; ++head) {
      for (std::int64_t first = 0; first < n; first += kRowsPerBlock) {
        const std::int64_t rows = std::min(kRowsPerBlock, n - first);
        pool.parallel_for(rows, [&](std::int64_t r, int) {
          const std::span<double> attn_j(attn_ij.data() + r * n, static_cast<std::size_t>(first + r + 1));
          absmax_i[r] = attend(call, head, first + r, attn_j);
        });
        for (std::int64_t r = 0; r < rows && visit_; ++r)
          visit_(
              {layer, head, first + r, {attn_ij.data() + r * n, static_cast<std::size_t>(first + r + 1)}, absmax_i[r]});
      }
    }
    if (layer == options_.last_layer) end_.request_stop();
  }

 private:
  // Row of A and the head's output, both from the keys of this call (it starts at position 0, in the operands' order).
  // Returns the largest |score|.
  static double attend(const AttentionCall& call, int head, std::int64_t query, std::span<double> attn_j) {
    const kernels::AttentionInputs& in = call.in;
    const std::int64_t d = in.head_dim, g = std::int64_t{head} * in.num_kv_heads / in.num_heads;
    const kernels::KeyRange keys = in.mask.visible(query, query + 1);
    const float* q = in.q_ihd + query * in.q_stride + head * d;
    std::fill(attn_j.begin(), attn_j.end(), 0.0);
    double absmax = 0.0;
    double top = in.null_logit_h != nullptr ? static_cast<double>(in.null_logit_h[head])
                                            : -std::numeric_limits<double>::infinity();
    const kernels::RowProgram program = in.program_h != nullptr ? in.program_h[head] : kernels::RowProgram{};
    const std::vector<double> factor_j = kernels::reference_key_scales(program, query, keys);
    std::vector<double> row_j;
    for (std::int64_t j = keys.begin; j < keys.end; ++j) {
      double score = static_cast<double>(in.scale) * dot(q, call.k_igd + j * call.kv_row_stride + g * d, d) *
                     factor_j[static_cast<std::size_t>(j - keys.begin)];
      if (in.soft_cap > 0) score = in.soft_cap * std::tanh(score / static_cast<double>(in.soft_cap));
      row_j.push_back(score);
    }
    kernels::reference_change_scores(program, query, keys, row_j);
    for (const double score : row_j) {
      top = std::max(top, score);
      if (std::isfinite(score)) absmax = std::max(absmax, std::abs(score));
    }
    double sum = in.null_logit_h != nullptr ? std::exp(static_cast<double>(in.null_logit_h[head]) - top) : 0.0;
    for (double& weight : row_j) {
      weight = std::exp(weight - top);
      sum += weight;
    }
    for (double& weight : row_j) weight /= sum;
    kernels::reference_change_weights(program, query, keys, row_j);
    std::copy(row_j.begin(), row_j.end(), attn_j.begin() + keys.begin);
    const std::vector<double> value_j = kernels::reference_value_scales(program, query, keys);
    std::vector<double> out(static_cast<std::size_t>(d));
    for (std::int64_t j = keys.begin; j < keys.end; ++j) {
      const auto n = static_cast<std::size_t>(j - keys.begin);
      const float* v = call.v_igd + j * call.kv_row_stride + g * d;
      for (std::int64_t e = 0; e < d; ++e)
        out[static_cast<std::size_t>(e)] += row_j[n] * value_j[n] * static_cast<double>(v[e]);
    }
    float* target = call.out_ihd + query * call.out_stride + head * d;
    for (std::int64_t e = 0; e < d; ++e) target[e] = static_cast<float>(out[static_cast<std::size_t>(e)]);
    return absmax;
  }

  static double dot(const float* a, const float* b, std::int64_t count) {
    constexpr std::int64_t kSums = 8;  // additions that need not wait for each other
    double sums[kSums] = {};
    std::int64_t e = 0;
    for (; e + kSums <= count; e += kSums)
      for (std::int64_t u = 0; u < kSums; ++u) sums[u] += static_cast<double>(a[e + u]) * static_cast<double>(b[e + u]);
    for (; e < count; ++e) sums[0] += static_cast<double>(a[e]) * static_cast<double>(b[e]);
    return std::accumulate(std::begin(sums), std::end(sums), 0.0);
  }

  const ReferenceOptions& options_;
  const ReferenceVisitor& visit_;
  std::stop_source& end_;
};

}  // namespace

void reference_forward(Engine& engine, std::span<const std::int32_t> ids, const ReferenceOptions& options,
                       const ReferenceVisitor& visit, const ProgressCallback& progress, std::stop_token stop) {
  if (!engine.spec().causal)
    throw Error(Errc::unsupported, "the reference forward pass hands out causal rows; this model attends both ways");
  require_cpu(engine.impl(), "reference forward passes");
  Session::Impl run(engine.impl(), {.rows_follow = false});
  run.intervene(options.interventions);
  std::stop_source end;
  const std::stop_callback forward_stop(stop, [&] { end.request_stop(); });
  ReferenceAttention hook(options, visit, end);
  try {
    run.advance({.ids = ids,
                 .num_prompt_tokens = options.num_prompt_tokens,
                 .hook = &hook,
                 .operand_dtype = options.operand_dtype,
                 .progress = progress,
                 .stop = end.get_token()});
  } catch (const Error& error) {
    if (error.code() != Errc::cancelled || stop.stop_requested()) throw;
  }
}

}  // namespace headlight::engine

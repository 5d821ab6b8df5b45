#include "kernels/lse_correction.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/row_program.h"

namespace headlight::kernels {
namespace {

constexpr double kLeastDenominator = 1e-3;
constexpr std::int64_t kCorrectedRowsPerTask = 16;

double value_at(const AttentionInputs& in, std::int64_t kv_head, std::int64_t key, std::int64_t e) {
  const std::int64_t at = kv_head * in.kv_stride + key * in.head_dim + e;
  if (in.kv_dtype == DType::bf16)
    return static_cast<double>(bf16_to_f32(static_cast<const std::uint16_t*>(in.v_gjd)[at]));
  return static_cast<double>(static_cast<const float*>(in.v_gjd)[at]);
}

/// One row of one head.
class Correction {
 public:
  Correction(const AttentionInputs& in, int head, std::int64_t row, float* out_d, float* lse)
      : in_(in),
        plain_(in),
        head_(head),
        row_(row),
        position_(in.query_start + row),
        keys_(in.mask.visible(position_, in.num_keys)),
        kv_head_(std::int64_t{head} * in.num_kv_heads / in.num_heads),
        out_d_(out_d),
        lse_(lse) {
    plain_.program_h = nullptr;
  }

  void run() {
    if (keys_.size() < 2) return;
    const std::vector<KeyRun> biases = visible_biases();
    if (biases.empty()) return;
    double denominator = 1.0;
    std::vector<double> sum_d(static_cast<std::size_t>(in_.head_dim), 0.0);
    for (const KeyRun& run : biases) {
      float score = 0.0f;
      attention_scores_row(plain_, head_, row_, {run.begin, run.end}, &score);
      const double share = std::expm1(static_cast<double>(run.value)) *
                           std::exp(static_cast<double>(score) - static_cast<double>(*lse_));
      denominator += share;
      for (std::int64_t e = 0; e < in_.head_dim; ++e)
        sum_d[static_cast<std::size_t>(e)] += share * value_at(in_, kv_head_, run.begin, e);
    }
    if (denominator < kLeastDenominator) return compute_anew();
    for (std::int64_t e = 0; e < in_.head_dim; ++e)
      out_d_[e] =
          static_cast<float>((static_cast<double>(out_d_[e]) + sum_d[static_cast<std::size_t>(e)]) / denominator);
    *lse_ = static_cast<float>(static_cast<double>(*lse_) + std::log(denominator));
  }

 private:
  /// One run for each visible key with its whole bias; empty = the row stays.
  std::vector<KeyRun> visible_biases() const {
    std::vector<KeyRun> out;
    const RowProgram& program = in_.program_h[head_];
    std::int64_t masked = 0;
    for (std::int64_t n = 0; n < program.num_steps; ++n) {
      const RowStep& step = program.steps[n];
      if (position_ < step.rows.begin || position_ >= step.rows.end) continue;
      for (std::int64_t r = 0; r < step.num_runs; ++r)
        for (std::int64_t j = std::max(step.runs[r].begin, keys_.begin); j < std::min(step.runs[r].end, keys_.end);
             ++j) {
          const auto same = std::find_if(out.begin(), out.end(), [&](const KeyRun& run) { return run.begin == j; });
          if (same == out.end())
            out.push_back({j, j + 1, step.runs[r].value});
          else
            same->value += step.runs[r].value;
        }
    }
    masked = std::count_if(out.begin(), out.end(), [](const KeyRun& run) { return std::isinf(run.value); });
    if (masked == keys_.size()) return {};
    return out;
  }

  void compute_anew() {
    std::vector<float> score_j(static_cast<std::size_t>(keys_.size()));
    attention_scores_row(in_, head_, row_, keys_, score_j.data());
    const double null_logit = in_.null_logit_h != nullptr ? static_cast<double>(in_.null_logit_h[head_])
                                                          : -std::numeric_limits<double>::infinity();
    const double top = std::max(null_logit, static_cast<double>(*std::max_element(score_j.begin(), score_j.end())));
    double sum = std::exp(null_logit - top);
    std::vector<double> out_d(static_cast<std::size_t>(in_.head_dim), 0.0);
    for (std::int64_t j = keys_.begin; j < keys_.end; ++j) {
      const double weight = std::exp(static_cast<double>(score_j[static_cast<std::size_t>(j - keys_.begin)]) - top);
      sum += weight;
      for (std::int64_t e = 0; e < in_.head_dim; ++e)
        out_d[static_cast<std::size_t>(e)] += weight * value_at(in_, kv_head_, j, e);
    }
    for (std::int64_t e = 0; e < in_.head_dim; ++e)
      out_d_[e] = static_cast<float>(out_d[static_cast<std::size_t>(e)] / sum);
    *lse_ = static_cast<float>(top + std::log(sum));
  }

  const AttentionInputs& in_;
  AttentionInputs plain_;
  int head_;
  std::int64_t row_, position_;
  KeyRange keys_;
  std::int64_t kv_head_;
  float *out_d_, *lse_;
};

}  // namespace

bool can_correct(const RowProgram& program) {
  std::int64_t keys = 0;
  for (std::int64_t n = 0; n < program.num_steps; ++n) {
    if (program.steps[n].op != RowOp::bias) return false;
    for (std::int64_t r = 0; r < program.steps[n].num_runs; ++r)
      keys += program.steps[n].runs[r].end - program.steps[n].runs[r].begin;
  }
  return keys <= kMostCorrectedKeys;
}

void correct_rows(ThreadPool& pool, const AttentionInputs& in, float* out_ihd, std::int64_t out_stride, float* lse_hi,
                  std::int64_t lse_stride) {
  const std::int64_t tasks = (in.num_queries + kCorrectedRowsPerTask - 1) / kCorrectedRowsPerTask;
  pool.parallel_for(tasks * in.num_heads, [&](std::int64_t task, int) {
    const auto head = static_cast<int>(task / tasks);
    if (in.program_h[head].num_steps == 0) return;
    const std::int64_t begin = task % tasks * kCorrectedRowsPerTask;
    for (std::int64_t row = begin; row < std::min(begin + kCorrectedRowsPerTask, in.num_queries); ++row)
      Correction(in, head, row, out_ihd + row * out_stride + head * in.head_dim, lse_hi + head * lse_stride + row)
          .run();
  });
}

}  // namespace headlight::kernels

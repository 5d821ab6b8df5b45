#include <algorithm>
#include <cmath>

#include "analysis/rope/makers.h"
#include "analysis/rope/operands.h"
#include "analysis/rope/rope_planes.h"
#include "analysis/row_replay.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

/// What undoing the rotation of planes [begin, D/2) changes in a row.
struct Change {
  double entropy = 0.0, previous = 0.0, moved = 0.0;
};

/// Attention of row i when planes [begin, D/2) of q and k are not rotated; scores in double. @param k_jd such keys
std::vector<double> unrotated_row(kernels::KeyRange keys, std::span<const float> q_d, const std::vector<float>& k_jd,
                                  const capture::LayerParameters& parameters) {
  const std::size_t dim = q_d.size();
  std::vector<double> attn(static_cast<std::size_t>(keys.size()));
  double largest = -kInfinity, sum = 0.0;
  for (std::size_t j = 0; j < attn.size(); ++j) {
    const float* k = k_jd.data() + (static_cast<std::size_t>(keys.begin) + j) * dim;
    double dot = 0.0;
    for (std::size_t d = 0; d < dim; ++d) dot += static_cast<double>(q_d[d]) * static_cast<double>(k[d]);
    attn[j] = parameters.scale * dot;
    if (parameters.soft_cap > 0.0f) attn[j] = parameters.soft_cap * std::tanh(attn[j] / parameters.soft_cap);
    largest = std::max(largest, attn[j]);
  }
  for (double& value : attn) sum += value = std::exp(value - largest);
  for (double& value : attn) value /= sum;
  return attn;
}

Change change_of(std::int64_t row, kernels::KeyRange keys, const std::vector<float>& before,
                 const std::vector<double>& after) {
  Change change;
  for (std::size_t j = 0; j < after.size(); ++j) {
    const double a = before[j], b = after[j];
    change.entropy += (a > 0 ? a * std::log(a) : 0.0) - (b > 0 ? b * std::log(b) : 0.0);
    change.moved += 0.5 * std::abs(a - b);
    if (keys.begin + static_cast<std::int64_t>(j) == row - 1) change.previous += b - a;
  }
  return change;
}

/// Mean change of one head over some rows. `replay` has the head open.
Change mean_change(const AnalysisInput& input, const RecordShape& shape, const RowReplay& replay,
                   std::span<const std::int64_t> rows, const std::vector<float>& k_jd,
                   const capture::LayerParameters& parameters, int begin, double base) {
  std::vector<Change> change(rows.size());
  input.pool.parallel_for(std::ssize(rows), [&](std::int64_t r, int) {
    const std::int64_t i = rows[static_cast<std::size_t>(r)];
    std::vector<float> attn_j, q(replay.query(i).begin(), replay.query(i).end());
    const kernels::KeyRange keys = replay.attention(i, attn_j);
    unrotate(q, i - shape.first_key, begin, base);
    change[static_cast<std::size_t>(r)] = change_of(i, keys, attn_j, unrotated_row(keys, q, k_jd, parameters));
  });
  Change mean;
  const auto n = static_cast<double>(rows.size());
  for (const Change& one : change) {
    mean.entropy += one.entropy / n;
    mean.previous += one.previous / n;
    mean.moved += one.moved / n;
  }
  return mean;
}

std::vector<float> unrotated_keys(const RecordShape& shape, const RowReplay& replay, int begin, double base) {
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  std::vector<float> k_jd(replay.key(0).data(), replay.key(0).data() + static_cast<std::size_t>(shape.num_rows) * dim);
  for (std::int64_t j = shape.first_key; j < shape.num_rows; ++j)
    unrotate({k_jd.data() + static_cast<std::size_t>(j) * dim, dim}, j - shape.first_key, begin, base);
  return k_jd;
}

AnalysisReport rope_what_if(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const double base = rope_base(input);
  if (has_scaled_rope(input))
    throw Error(Errc::invalid_argument,
                "undoes rotations of the unscaled base only; this model rescales its frequencies");
  const auto kept = params["kept"].get<std::vector<double>>();
  const capture::RecordInfo info = input.capture.record(input.record);
  std::vector<double> entropy(shape.num_cells() * kept.size(), kUndefined), previous = entropy, moved = entropy;
  for (int l = 0; l < shape.num_layers; ++l) {
    const auto& parameters = info.header.layers[static_cast<std::size_t>(l)];
    if (!parameters.null_logit_h.empty()) throw Error(Errc::invalid_argument, "is not defined with learned sinks");
    RowReplay replay(input.capture, input.record, l, true);
    const std::vector<std::int64_t> rows = spread_rows(replay.rows(), params["rows"]);
    std::vector<std::vector<float>> k_pjd(kept.size());
    int kv_head = -1;
    for (int h = 0; h < shape.num_heads; ++h) {
      check_stop(stop);
      if (!replay.recorded(h) || rows.empty()) continue;
      replay.open(h);
      for (std::size_t p = 0; p < kept.size(); ++p) {
        const int begin = static_cast<int>(std::lround(kept[p] * shape.head_dim / 2));
        if (shape.kv_head(h) != kv_head) k_pjd[p] = unrotated_keys(shape, replay, begin, base);
        const Change change = mean_change(input, shape, replay, rows, k_pjd[p], parameters, begin, base);
        const std::size_t at = static_cast<std::size_t>(l * shape.num_heads + h) * kept.size() + p;
        entropy[at] = change.entropy;
        previous[at] = change.previous;
        moved[at] = change.moved;
      }
      kv_head = shape.kv_head(h);
    }
  }
  AnalysisReport report;
  const auto add = [&](const char* id, const char* unit, const char* formula, std::vector<double>& values, double low,
                       double high) {
    report.series.push_back({id,
                             unit,
                             formula,
                             {"layer", "head", "kept"},
                             {shape.num_layers, shape.num_heads, std::ssize(kept)},
                             std::move(values),
                             low,
                             high});
  };
  add("moved", "1", "mean_i sum_j |A'_ij - A_ij| / 2", moved, 0, 1);
  add("entropy_change", "nat", "mean_i H'_i - H_i", entropy, -kInfinity, kInfinity);
  add("previous_change", "1", "mean_i A'_i,i-1 - A_i,i-1", previous, -1, 1);
  report.notes.emplace_back(
      "each head by itself, with the queries and keys of the run as it was: what the changed layers below would do to "
      "them, and to the loss, needs a run of the model");
  return report;
}

}  // namespace

Analysis rope_what_if_analysis() {
  return {.id = "rope-what-if",
          .title = "Heads without the slow rotary planes",
          .summary = "How attention changes when the slowest rotations are undone (p-RoPE), head by head",
          .source = "Round and Round We Go! What makes Rotary Positional Encodings useful?",
          .needs = {Need::row, Need::qkv},
          .by_default = false,
          .parameters =
              {{"kept", {0.25, 0.5, 0.75}, 0.0, 1.0, "shares p of the planes, fastest first, that keep their rotation"},
               {"rows", 32, 1, 1 << 20, "rows that are looked at"}},
          .run = rope_what_if};
}

}  // namespace headlight::analysis

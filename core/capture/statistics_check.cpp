#include "core/capture/statistics_check.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "core/capture/derive.h"
#include "core/capture/statistics.h"

namespace headlight::capture {
namespace {

struct RowLimit {
  const char* id;
  std::vector<double> HeadOracle::*values;
  double absolute, relative;
};
constexpr RowLimit kRowLimits[] = {
    {"lse", &HeadOracle::lse, 5e-5, 0},
    {"entropy", &HeadOracle::entropy, 1e-4, 0},
    {"pmax", &HeadOracle::pmax, 1e-7, 1e-4},
    {"first", &HeadOracle::first, 2e-5, 0},
    {"sink", &HeadOracle::sink, 2e-5, 0},
    {"local", &HeadOracle::local, 2e-5, 0},
    {"dist1", &HeadOracle::dist1, 1e-4, 1e-4},
    {"dist2", &HeadOracle::dist2, 1e-4, 1e-4},
    {"off0", &HeadOracle::off0, 2e-5, 0},
    {"off1", &HeadOracle::off1, 2e-5, 0},
    {"null_mass", &HeadOracle::null_mass, 2e-5, 0},
};

bool equal_or_both_missing(double a, double b) {
  return a == b || (std::isnan(a) && std::isnan(b));
}

}  // namespace

/// Stored maps of one head, and how far their rows are from float64. A row is written by one thread.
struct StatisticsCheck::RowChecks {
  Buffer<float> dense_ij;  ///< empty when not stored
  std::vector<TopkRow> topk;
  std::vector<double> dense_difference, topk_difference, remainder_difference;
  std::int64_t row_begin, num_keys;

  RowChecks(const CaptureView& view, const RecordInfo& info, const HeadRef& ref, std::int64_t begin, std::int64_t end)
      : row_begin(begin), num_keys(info.num_rows) {
    if (info.has_dense) dense_ij = view.dense(ref.record, ref.layer, ref.head);
    if (info.has_topk) topk = view.topk(ref.record, ref.layer, ref.head);
    std::erase_if(topk, [&](const TopkRow& row) { return row.query < begin || row.query >= end; });
    std::sort(topk.begin(), topk.end(), [](const auto& a, const auto& b) { return a.query < b.query; });
    dense_difference.assign(dense_ij.size() == 0 ? 0 : static_cast<std::size_t>(end - begin), 0.0);
    topk_difference.assign(topk.size(), 0.0);
    remainder_difference = topk_difference;
  }

  void visit(std::int64_t row, kernels::KeyRange keys, const std::vector<double>& attn_j) {
    const auto attn = [&](std::int64_t j) {
      return j >= keys.begin && j < keys.end ? attn_j[static_cast<std::size_t>(j)] : 0.0;
    };
    if (!dense_difference.empty()) {
      double& worst = dense_difference[static_cast<std::size_t>(row - row_begin)];
      const float* stored_j = dense_ij.data() + row * num_keys;
      for (std::int64_t j = 0; j < num_keys; ++j) worst = larger(worst, std::abs(stored_j[j] - attn(j)));
    }
    const auto it = std::lower_bound(topk.begin(), topk.end(), row,
                                     [](const TopkRow& entry, std::int64_t query) { return entry.query < query; });
    if (it != topk.end() && it->query == row)
      compare_topk(*it, static_cast<std::size_t>(it - topk.begin()), keys, attn);
  }

 private:
  static double larger(double worst, double difference) {
    return difference <= worst ? worst : difference;
  }  // keeps NaN

  // Values, and that no key left out is larger than one that was kept.
  template <class Attention>
  void compare_topk(const TopkRow& row, std::size_t at, kernels::KeyRange keys, const Attention& attn) {
    double& worst = topk_difference[at];
    double smallest = INFINITY, kept = 0, all = 0;
    for (std::size_t k = 0; k < row.keys.size(); ++k) {
      worst = larger(worst, std::abs(static_cast<double>(row.values[k]) - attn(row.keys[k])));
      smallest = std::min(smallest, attn(row.keys[k]));
      kept += attn(row.keys[k]);
    }
    for (std::int64_t j = keys.begin; j < keys.end; ++j) {
      all += attn(j);
      if (attn(j) > smallest && std::find(row.keys.begin(), row.keys.end(), j) == row.keys.end())
        worst = larger(worst, attn(j) - smallest);
    }
    remainder_difference[at] = std::abs(static_cast<double>(row.remainder) - (all - kept));
  }
};

StatisticsCheck::StatisticsCheck(const CaptureView& view, std::int64_t record, std::int64_t row_begin,
                                 std::int64_t row_end, ThreadPool& pool)
    : view_(view), record_(record), row_begin_(row_begin), row_end_(row_end), info_(view.record(record)), pool_(pool) {}

std::vector<Check> StatisticsCheck::results() const {
  std::vector<Check> list;
  for (const auto& [name, check] : checks_) list.push_back(check);
  return list;
}

Check& StatisticsCheck::check(const std::string& name) {
  Check& check = checks_[name];
  check.name = name;
  return check;
}

double StatisticsCheck::growth(const HeadOracle& oracle, std::size_t row) const {
  return (info_.replay_dtype == DType::f32 ? 1.0 : 2.0) * (1 + oracle.score_absmax[row] / 64);
}

double StatisticsCheck::map_limit(const HeadOracle& oracle, std::size_t row) const {
  return (info_.replay_dtype == DType::f32 ? 1.0 : 2.0) * (1e-5 + kScoreRounding * oracle.score_absmax[row]);
}

void StatisticsCheck::add_head(int layer, int head, std::stop_token stop) {
  load_layer(layer);
  name_ = head_name(view_.header().plan.layers[static_cast<std::size_t>(layer)], head);
  const HeadRef ref{record_, layer, head};
  RowChecks rows(view_, info_, ref, row_begin_, row_end_);
  const HeadOracle oracle = recompute_head(view_, ref, row_begin_, row_end_, pool_, stop,
                                           [&](std::int64_t row, kernels::KeyRange keys,
                                               const std::vector<double>& attn_j) { rows.visit(row, keys, attn_j); });
  check_head(oracle, head);
  if (all_rows() && info_.has_overview) check_blocks(oracle, head);
  check_map_rows(oracle, rows);
  check_sums(oracle, head);
  check_key_norms(head);
  if (!info_.header.has_base) return;
  base_ = true;
  check_head(recompute_head(view_, {record_, layer, head, true}, row_begin_, row_end_, pool_, stop), head);
  base_ = false;
}

void StatisticsCheck::check_head(const HeadOracle& oracle, int head) {
  check_rows(oracle, head);
  check_largest_keys(oracle, head);
  if (!all_rows()) return;
  check_column("received", oracle.received, head);
  check_column("received_tail", oracle.received_tail, head);
}

// Statistics of one layer at a time are in memory.
void StatisticsCheck::load_layer(int layer) {
  if (layer == layer_) return;
  layer_ = layer;
  stored_.clear();
  for (const std::string& id : view_.available_statistics(record_)) {
    const StatisticInfo& info = require_statistic(id);
    if (info.kind != StatisticKind::head && (info.recorded || group_mass_segment(id)))
      stored_.emplace(id, view_.statistic(record_, id, layer));
  }
  check_head_values();
}

// Head values are formulas over the rows and columns that are stored: every head of the layer.
void StatisticsCheck::check_head_values() {
  const int num_heads = view_.header().model.num_heads,
            layer = view_.header().plan.layers[static_cast<std::size_t>(layer_)];
  const auto stored = [&](std::string_view id) { return view_.statistic(record_, id, layer_); };
  for (const std::string& id : view_.available_statistics(record_)) {
    if (require_statistic(id).id == "jmax") continue;
    const Buffer<float> found_lh = view_.head_statistic(record_, id);
    const Buffer<float> expected_h = derive_head_statistic(id, layer_geometry(info_, layer_), num_heads, stored);
    for (int h = 0; h < num_heads; ++h) {
      const double got = found_lh[static_cast<std::size_t>(layer_ * num_heads + h)];
      const double expected = expected_h[static_cast<std::size_t>(h)];
      check("head values")
          .add(equal_or_both_missing(got, expected) ? 0.0 : std::abs(got - expected), 1e-6 + 1e-5 * std::abs(expected),
               [&] {
                 return fmt::format("{} {}: stored {:.9g}, from its rows {:.9g}", head_name(layer, h), id, got,
                                    expected);
               });
    }
  }
}

void StatisticsCheck::check_rows(const HeadOracle& oracle, int head) {
  for (const RowLimit& limit : kRowLimits)
    check_row_values(limit.id, (oracle.*limit.values).data(), limit.absolute, limit.relative, oracle, head);
  for (std::size_t g = 0; g < info_.header.segments.size(); ++g)
    check_row_values(fmt::format("group_mass:{}", g), oracle.group_mass_gi.data() + g * oracle.lse.size(), 2e-5, 0,
                     oracle, head);
}

void StatisticsCheck::check_row_values(const std::string& id, const double* expected_i, double absolute,
                                       double relative, const HeadOracle& oracle, int head) {
  const auto found = stored_.find(id + suffix());
  if (found == stored_.end()) return;
  Check& check = this->check("row " + id.substr(0, id.find(':')) + suffix());
  for (std::int64_t i = row_begin_; i < row_end_; ++i) {
    const auto k = static_cast<std::size_t>(i - row_begin_);
    const double expected = expected_i[k], got = found->second[static_cast<std::size_t>(head * info_.num_rows + i)];
    check.add(
        expected == got ? 0.0 : std::abs(got - expected), growth(oracle, k) * std::max(absolute, relative * expected),
        [&] { return fmt::format("{} row {}: {} stored {:.9g}, recomputed {:.9g}", name_, i, id, got, expected); });
  }
}

// The stored key must attain the largest weight: ties within rounding may fall on either.
void StatisticsCheck::check_largest_keys(const HeadOracle& oracle, int head) {
  const auto found = stored_.find("jmax" + suffix());
  if (found == stored_.end()) return;
  for (std::int64_t i = row_begin_; i < row_end_; ++i) {
    const auto k = static_cast<std::size_t>(i - row_begin_);
    const double got = found->second[static_cast<std::size_t>(head * info_.num_rows + i)];
    const auto expected = static_cast<double>(oracle.jmax[k]);
    double difference = got == expected ? 0.0 : INFINITY;
    if (got != expected && got >= 0 && got < static_cast<double>(info_.num_rows)) {
      const auto j = static_cast<std::int64_t>(got);
      float attn = 0;
      replay_tile(view_, {record_, layer_, head, base_}, {i, i + 1, j, j + 1}, pool_, {&attn, 1});
      difference = std::abs(static_cast<double>(attn) - oracle.pmax[k]);
    }
    check("row jmax" + suffix()).add(difference, 2 * map_limit(oracle, k), [&] {
      return fmt::format("{} row {}: stored key {}, recomputed {}", name_, i, got, expected);
    });
  }
}

void StatisticsCheck::check_column(const char* id, const std::vector<double>& values, int head) {
  const auto found = stored_.find(id + suffix());
  if (found == stored_.end()) return;
  Check& check = this->check("column " + (id + suffix()));
  for (std::int64_t j = 0; j < info_.num_rows; ++j) {
    const double expected = values[static_cast<std::size_t>(j)];
    const double got = found->second[static_cast<std::size_t>(head * info_.num_rows + j)];
    check.add(std::abs(got - expected), std::max(2e-4 * expected, 1e-5 * static_cast<double>(info_.num_rows)),
              [&] { return fmt::format("{} key {}: stored {:.9g}, recomputed {:.9g}", name_, j, got, expected); });
  }
}

// Sums are stored in half precision, maxima in an 8-bit logarithmic code.
void StatisticsCheck::check_blocks(const HeadOracle& oracle, int head) {
  const Buffer<float> sum = view_.block_sum(record_, layer_, head), max = view_.block_max(record_, layer_, head);
  for (std::size_t b = 0; b < oracle.block_sum.size(); ++b) {
    const auto place = [&](double got, double expected) {
      const auto count = static_cast<std::size_t>(info_.block_count);
      return fmt::format("{} block {},{}: stored {:.9g}, recomputed {:.9g}", name_, b / count, b % count, got,
                         expected);
    };
    const double expected_sum = oracle.block_sum[b], expected_max = oracle.block_max[b];
    check("block sums")
        .add(std::abs(sum[b] - expected_sum), 1e-3 * expected_sum + 1e-5 * static_cast<double>(info_.block_edge),
             [&] { return place(sum[b], expected_sum); });
    check("block maxima").add(std::abs(max[b] - expected_max), 0.025 * expected_max + 2e-5, [&] {
      return place(max[b], expected_max);
    });
  }
}

void StatisticsCheck::check_map_rows(const HeadOracle& oracle, const RowChecks& rows) {
  for (std::size_t k = 0; k < rows.dense_difference.size(); ++k)
    check("dense map rows").add(rows.dense_difference[k], map_limit(oracle, k), [&] {
      return fmt::format("{} row {}: largest difference {:.3g}", name_, row_begin_ + static_cast<std::int64_t>(k),
                         rows.dense_difference[k]);
    });
  for (std::size_t r = 0; r < rows.topk.size(); ++r) {
    const std::int64_t row = rows.topk[r].query;
    const auto k = static_cast<std::size_t>(row - row_begin_);
    check("top-k rows").add(rows.topk_difference[r], 2 * map_limit(oracle, k), [&] {
      return fmt::format("{} row {}: largest difference {:.3g}", name_, row, rows.topk_difference[r]);
    });
    check("top-k remainders").add(rows.remainder_difference[r], 1e-4 * growth(oracle, k), [&] {
      return fmt::format("{} row {}: difference {:.3g}", name_, row, rows.remainder_difference[r]);
    });
  }
}

// Rows of the replayed map sum to 1 - null_mass: at most 64 rows of a head.
void StatisticsCheck::check_sums(const HeadOracle& oracle, int head) {
  const std::int64_t step = std::max<std::int64_t>(1, (row_end_ - row_begin_) / 64);
  std::vector<float> row(static_cast<std::size_t>(info_.num_rows));
  for (std::int64_t i = row_begin_; i < row_end_; i += step) {
    const auto k = static_cast<std::size_t>(i - row_begin_);
    replay_tile(view_, {record_, layer_, head}, {i, i + 1, 0, info_.num_rows}, pool_, row);
    double sum = 0;
    for (const float a : row) sum += static_cast<double>(a);
    const double full = info_.header.rows_changed ? oracle.row_sum[k] : 1.0 - oracle.null_mass[k];
    const double expected = std::isinf(oracle.lse[k]) ? 0.0 : full;
    const double limit = (info_.replay_dtype == DType::f32 ? 1e-4 : 1e-3) * (1 + oracle.score_absmax[k] / 64);
    check("replayed row sums").add(std::abs(sum - expected), limit, [&] {
      return fmt::format("{} row {}: sum {:.9g}, expected {:.9g}", name_, i, sum, expected);
    });
  }
}

// |k| and |v|, once for the heads of a group.
void StatisticsCheck::check_key_norms(int head) {
  const ModelInfo& model = view_.header().model;
  const int heads_per_group = model.num_heads / model.num_kv_heads;
  if (head % heads_per_group != 0) return;
  const int group = head / heads_per_group;
  const auto dim = static_cast<std::size_t>(model.head_dim);
  const auto compare = [&](const char* id, const auto& read) {
    const Buffer<float> stored_lgi = view_.hidden(record_, id);
    Buffer<float> x_id(static_cast<std::size_t>(info_.num_rows) * dim);
    read(x_id.data());
    for (std::int64_t i = 0; i < info_.num_rows; ++i) {
      double squares = 0;
      for (std::size_t d = 0; d < dim; ++d) squares += std::pow(x_id[static_cast<std::size_t>(i) * dim + d], 2.0);
      const double expected = std::sqrt(squares);
      const double got =
          stored_lgi[static_cast<std::size_t>((layer_ * model.num_kv_heads + group) * info_.num_rows + i)];
      check(id).add(std::abs(got - expected), 1e-5 * expected + 1e-7, [&] {
        return fmt::format("{} key {}: stored {:.9g}, recomputed {:.9g}", name_, i, got, expected);
      });
    }
  };
  compare("key_norm", [&](float* out) { view_.read_k(record_, layer_, group, 0, info_.num_rows, out); });
  if (info_.has_values)
    compare("value_norm", [&](float* out) { view_.read_v(record_, layer_, group, 0, info_.num_rows, out); });
}

}  // namespace headlight::capture

#include <algorithm>
#include <cerrno>
#include <cmath>

#include <fmt/format.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/layout.h"

namespace headlight::capture {
namespace {

// What deflate leaves of each kind, measured on real prompts.
constexpr double kPackedStatistic = 0.82, kPackedDense = 0.40, kPackedMax = 0.30, kPackedSum = 0.40;
constexpr double kFixedBytes = 260e3;  // structure of a file with one record
constexpr double kBytesPerToken = 64.0;

std::int64_t bytes(double value) {
  return static_cast<std::int64_t>(std::llround(value));
}

}  // namespace

SizeEstimate estimate_capture_bytes(const CaptureHeader& header, std::int64_t num_rows) {
  const CapturePlan& plan = header.plan;
  const ModelInfo& model = header.model;
  const auto n = static_cast<double>(std::max<std::int64_t>(1, num_rows));
  const auto layers = static_cast<double>(plan.layers.size()), heads = static_cast<double>(model.num_heads),
             groups = static_cast<double>(model.num_kv_heads), dim = static_cast<double>(model.head_dim);
  const auto kept_heads = static_cast<double>(
      std::count_if(plan.heads_lh.begin(), plan.heads_lh.end(), [](auto kept) { return kept != 0; }));
  int row_statistics = 0, column_statistics = 0;
  for (const StatisticInfo& info : statistics()) {
    if (!info.recorded || info.id == "group_mass") continue;
    row_statistics += info.kind == StatisticKind::row ? 1 : 0;
    column_statistics += info.kind == StatisticKind::column ? 1 : 0;
  }
  const double blocks = std::ceil(n / static_cast<double>(overview_block_edge(num_rows)));
  const double begin = static_cast<double>(std::clamp<std::int64_t>(plan.row_begin, 0, num_rows));
  const double end = plan.row_end < 0 ? n : static_cast<double>(std::min(plan.row_end, num_rows));

  SizeEstimate out;
  out.statistics = bytes(layers * heads * n * 4.0 * (row_statistics + column_statistics) * kPackedStatistic +
                         layers * heads * 4.0 * static_cast<double>(hdf5::head_statistic_ids().size()));
  if (plan.level != CaptureLevel::summary)
    out.replay =
        bytes((kept_heads * std::max(0.0, end - begin) + layers * groups * n * (plan.store_values ? 2.0 : 1.0)) * dim *
              static_cast<double>(size_of(plan.replay_dtype)));
  // Half of a causal map is visible; the packing is of the visible half.
  if (plan.level == CaptureLevel::maps) out.maps = bytes(kept_heads * n * n * 4.0 * kPackedDense);
  if (plan.overview) out.overview = bytes(layers * heads * blocks * blocks * (kPackedMax + 2.0 * kPackedSum));
  const double levels = static_cast<double>(model.num_layers) + 1.0;
  out.hidden = bytes(levels * n * 24.0 + layers * (2.0 * groups + heads) * n * 4.0 * 0.9);
  if (plan.hidden_states) out.hidden += bytes(levels * n * static_cast<double>(model.hidden_size) * 4.0);
  const double vocab = static_cast<double>(model.vocab_size);
  if (plan.logits != LogitsKept::none) out.logits = bytes(vocab * 4.0 + std::min(n, 64.0) * 88.0);
  if (plan.logits == LogitsKept::all) out.logits += bytes(n * (vocab * 4.0 + 88.0));
  const double topk_rows = std::min(static_cast<double>(plan.topk_rows), n) * layers * heads;
  const double entries = topk_rows * std::min(static_cast<double>(plan.topk), n);
  out.other = bytes(kFixedBytes + n * kBytesPerToken + topk_rows * 24.0 + entries * 8.0 +
                    static_cast<double>(model.config_json.size() + model.chat_template.size()));
  return out;
}

void check_free_space(const std::filesystem::path& path, std::int64_t needed_bytes) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0) throw_io_error(errno, folder, "asking for free space");
  const double needed = static_cast<double>(needed_bytes) * 1.1 + 64.0 * 1048576.0;
  const double free_bytes = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
  if (free_bytes >= needed) return;
  throw Error(Errc::io, fmt::format("the capture needs {:.0f} bytes with reserve, {:.0f} are free", needed, free_bytes),
              {.file = path.string(),
               .field = {},
               .offset = {},
               .hint = "use --level summary, fewer --layers or --heads, or another disk"});
}

}  // namespace headlight::capture

#include "core/capture_hdf5/record_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/checked.h"
#include "core/capture/derive.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/layer_parameters.h"
#include "core/capture_hdf5/layout.h"
#include "core/capture_hdf5/token_columns.h"

namespace headlight::capture::hdf5 {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

[[noreturn]] void throw_invalid(const std::string& text) {
  throw Error(Errc::invalid_argument, text);
}

void check_range(std::string_view what, std::int64_t value, std::int64_t count) {
  if (value < 0 || value >= count) throw_invalid(fmt::format("{} {} is outside 0..{}", what, value, count - 1));
}

}  // namespace

RecordReader::RecordReader(const StoredFile& file, const CaptureHeader& header) : file_(file), header_(header) {
  read_sizes();
  read_text();
  read_parameters();
  read_interventions();
  check_arrays();
  find_contents();
  check_blocks();
  check_topk();
}

void RecordReader::read_sizes() {
  const std::string group = "/rec/0";
  RecordHeader& record = info_.header;
  record.record_id = file_.text(group, "record_id");
  record.num_prompt_tokens = file_.integer(group, "n_prompt_tokens");
  record.num_rows = file_.integer(group, "n_rows_announced");
  record.source_line = file_.integer(group, "source_line");
  record.label = file_.integer(group, "label");
  record.first_key = file_.integer(group, "first_key");
  record.bos_present = file_.integer(group, "bos_present") != 0;
  info_.num_rows = file_.integer(group, "n_rows");
  info_.num_generated = file_.integer(group, "n_generated");
  if (info_.num_rows < 0 || info_.num_generated < 0) {  // unfinished: the counters know
    const LiveProgress progress = file_.progress();
    info_.num_rows = progress.num_rows();
    info_.num_generated = progress.tokens - record.num_prompt_tokens;
    const bool is_open = progress.record == 0;
    columns_pending_ = is_open && info_.num_rows > record.num_prompt_tokens;
    blocks_pending_ = is_open && record.num_rows > record.num_prompt_tokens;
  }
  const auto limit = [&](const char* name, std::int64_t value, std::int64_t high) {
    if (value < 0 || value > high)
      file_.refuse(Errc::damaged, group + "@" + name, fmt::format("expected 0..{}, found {}", high, value));
  };
  limit("n_rows_announced", record.num_rows, kMaxRows);
  limit("n_rows", info_.num_rows, record.num_rows);
  limit("n_prompt_tokens", record.num_prompt_tokens, kMaxRows);
  limit("n_generated", info_.num_generated, kMaxRows);
  limit("first_key", record.first_key, record.num_rows);
}

void RecordReader::read_text() {
  RecordHeader& record = info_.header;
  record.text = file_.bytes(path("text/utf8"));
  read_segments();
  record.tokens = read_tokens(file_, TokenColumns::of_record("/rec/0"), 0,
                              extent(record.num_prompt_tokens + info_.num_generated), record);
  info_.generated_logprob.resize(static_cast<std::size_t>(info_.num_generated));
  file_.read_floats(file_.array(path("generated/logprob"), 1), {0}, {extent(info_.num_generated)},
                    info_.generated_logprob.data());
}

void RecordReader::read_segments() {
  const auto names = file_.texts(path("segments/name"));
  const auto begin = file_.read_integers(path("segments/begin")), end = file_.read_integers(path("segments/end"));
  if (begin.size() != names.size() || end.size() != names.size())
    file_.refuse(Errc::damaged, path("segments"), "has columns of different lengths");
  const auto tokens = static_cast<std::int64_t>(kMaxRows);
  for (std::size_t s = 0; s < names.size(); ++s) {
    if (begin[s] < 0 || begin[s] > end[s] || end[s] > tokens)
      file_.refuse(Errc::damaged, path("segments/end"), fmt::format("segment {} ends before it begins", s));
    info_.header.segments.push_back({names[s], begin[s], end[s]});
  }
}

void RecordReader::read_parameters() {
  info_.header.layers = read_layer_parameters(file_, path("replay"), header_);
  const hsize_t layers = header_.plan.layers.size(), heads = extent(header_.model.num_heads);
  const auto& dims = file_.array(path("replay/recorded"), 2).dims;
  if (dims[0] != layers || dims[1] != heads)
    file_.refuse(Errc::damaged, path("replay/recorded"), fmt::format("expected {} layers, found {}", layers, dims[0]));
  for (const float flag : file_.read_floats(path("replay/recorded"), {0, 0}, {layers, heads}))
    recorded_lh_.push_back(flag != 0.0f ? 1 : 0);
}

// One line of JSON for each layer; a line that was being written when a run was killed has no end and does not count.
void RecordReader::read_interventions() {
  if (file_.has(path("interventions/stack"))) info_.header.interventions = file_.bytes(path("interventions/stack"));
  info_.header.rows_changed = file_.has(path("interventions/rows"));
  info_.header.has_base = file_.has(path("row/lse_base"));
  if (!info_.header.rows_changed) return;
  const auto& layers = header_.plan.layers;
  row_plans_.resize(layers.size());
  const std::string lines = file_.bytes(path("interventions/rows"));
  for (std::size_t begin = 0, end; (end = lines.find('\n', begin)) != std::string::npos; begin = end + 1) {
    try {
      const Json json =
          parse_json(std::string_view(lines).substr(begin, end - begin), {.max_bytes = 256u << 20, .max_depth = 8});
      const auto at = std::find(layers.begin(), layers.end(), json_integer(json, "layer"));
      if (at == layers.end())
        file_.refuse(Errc::damaged, path("interventions/rows"), "names a layer that is not recorded");
      row_plans_[static_cast<std::size_t>(at - layers.begin())] =
          RowPlan::from_json(json, header_.model.num_heads, "rows");
    } catch (const Error& error) {
      if (error.code() != Errc::bad_format) throw;
      file_.refuse(Errc::damaged, path("interventions/rows"), error.what());
    }
  }
}

RowPlan RecordReader::row_plan(int layer) const {
  check_layer(layer);
  if (!info_.header.rows_changed) return {};
  const auto& plan = row_plans_[static_cast<std::size_t>(layer)];
  if (!plan)
    throw_invalid(fmt::format("what interventions did to layer {} is not recorded: the run was interrupted before",
                              header_.plan.layers[static_cast<std::size_t>(layer)]));
  return *plan;
}

/// Shape that a dataset must have when it is there; 0 = any size, kRows = at least the record's rows.
struct RecordReader::Expected {
  const char* name;
  std::vector<std::int64_t> dims;
};

void RecordReader::check_arrays() {
  constexpr std::int64_t kRows = -1;
  const ModelInfo& m = header_.model;
  const auto layers = static_cast<std::int64_t>(header_.plan.layers.size());
  const std::int64_t levels = m.num_layers + 1, heads = m.num_heads, groups = m.num_kv_heads;
  std::vector<Expected> expected = {
      {"replay/q", {layers, heads, 0, m.head_dim}},
      {"replay/k", {layers, groups, kRows, m.head_dim}},
      {"replay/v", {layers, groups, kRows, m.head_dim}},
      {"map/full", {layers, heads, kRows, kRows}},
      {"map/block_sum", {layers, heads, 0, 0}},
      {"map/block_max", {layers, heads, 0, 0}},
      {"hidden/norm_l2", {levels, kRows}},
      {"hidden/absmax", {levels, kRows}},
      {"hidden/mean", {levels, kRows}},
      {"hidden/rms", {levels, kRows}},
      {"hidden/cos_first", {levels, kRows}},
      {"hidden/key_norm", {layers, groups, kRows}},
      {"hidden/value_norm", {layers, groups, kRows}},
      {"hidden/u_norm", {layers, heads, kRows}},
      {"hidden/x", {levels, kRows, m.hidden_size}},
      {"logits/last_full", {m.vocab_size}},
      {"row/group_mass", {layers, heads, kRows, static_cast<std::int64_t>(info_.header.segments.size())}},
  };
  std::vector<std::string> names;
  for (const StatisticInfo& info : statistics())
    if (info.kind != StatisticKind::head && info.recorded && info.id != "group_mass")
      for (const bool base : {false, true}) names.push_back(statistic_path(info, base));
  for (const std::string& name : names) expected.push_back({name.c_str(), {layers, heads, kRows}});
  for (const Expected& e : expected) {
    if (!file_.has(path(e.name))) continue;
    const StoredArray& array = file_.array(path(e.name), e.dims.size());
    for (std::size_t a = 0; a < e.dims.size(); ++a) {
      const auto found = static_cast<std::int64_t>(array.dims[a]);
      const bool ok = e.dims[a] == kRows ? found >= info_.num_rows && found <= info_.header.num_rows
                      : e.dims[a] == 0   ? found <= info_.header.num_rows
                                         : found == e.dims[a];
      if (!ok)
        file_.refuse(Errc::damaged, path(e.name),
                     fmt::format("expected {} along axis {}, found {}",
                                 e.dims[a] == kRows ? fmt::format("{} rows", info_.num_rows)
                                                    : fmt::format("{} entries", e.dims[a]),
                                 a, found));
    }
  }
}

void RecordReader::find_contents() {
  info_.replay_dtype = header_.plan.replay_dtype;
  info_.has_replay = recorded("replay/q") && recorded("replay/k");
  info_.has_values = recorded("replay/v");
  info_.has_columns = recorded("col/received");
  info_.has_overview = recorded("map/block_max") && recorded("map/block_sum");
  info_.has_dense = recorded("map/full");
  info_.has_hidden_states = recorded("hidden/x");
  info_.replay_row_begin = std::clamp<std::int64_t>(header_.plan.row_begin, 0, info_.num_rows);
  info_.replay_row_end = info_.num_rows;
  if (header_.plan.row_end >= 0) info_.replay_row_end = std::min(info_.num_rows, header_.plan.row_end);
  info_.replay_row_end = std::max(info_.replay_row_begin, info_.replay_row_end);
  if (info_.has_replay) {
    const auto kept = static_cast<std::int64_t>(file_.array(path("replay/q"), 4).dims[2]);
    if (kept < info_.replay_row_end - info_.replay_row_begin)
      file_.refuse(Errc::damaged, path("replay/q"),
                   fmt::format("expected {} rows, found {}", info_.replay_row_end - info_.replay_row_begin, kept));
  }
}

void RecordReader::check_blocks() {
  if (!info_.has_overview) return;
  const auto& sum = file_.array(path("map/block_sum"), 4).dims;
  const auto& max = file_.array(path("map/block_max"), 4).dims;
  info_.block_edge = file_.integer(path("map/block_max"), "block_size");
  info_.block_count = static_cast<std::int64_t>(max[2]);
  if (sum != max || max[2] != max[3] || info_.block_edge < 1 || info_.block_edge > info_.header.num_rows ||
      info_.block_count != (info_.header.num_rows + info_.block_edge - 1) / info_.block_edge)
    file_.refuse(Errc::damaged, path("map/block_max"), "has blocks that do not cover the record");
}

void RecordReader::check_topk() {
  if (!file_.has(path("topk/layer"))) return;
  const hsize_t rows = file_.array(path("topk/layer"), 1).dims[0];
  const hsize_t entries = file_.array(path("topk/indices"), 1).dims[0];
  // A file that was not closed may hold some columns of rows that do not count yet.
  const bool is_final = file_.integer("/rec/0", "n_rows") >= 0;
  topk_rows_ = is_final ? rows : extent(std::max<std::int64_t>(0, file_.progress().topk_rows));
  topk_entries_ = is_final ? entries : extent(std::max<std::int64_t>(0, file_.progress().topk_entries));
  const auto check = [&](const char* name, hsize_t expected) {
    const hsize_t found = file_.array(path(name), 1).dims[0];
    if (is_final ? found != expected : found < expected)
      file_.refuse(Errc::damaged, path(name), fmt::format("expected {} entries, found {}", expected, found));
  };
  for (const char* name : {"topk/layer", "topk/head", "topk/query", "topk/remainder"}) check(name, topk_rows_);
  for (const char* name : {"topk/indices", "topk/data"}) check(name, topk_entries_);
  check("topk/indptr", topk_rows_ + 1);
  info_.has_topk = topk_rows_ > 0;
}

bool RecordReader::recorded(std::string_view name) const {
  if ((columns_pending_ && name.starts_with("col/received")) || (blocks_pending_ && name.starts_with("map/block_")))
    return false;
  return file_.is_recorded(path(name));
}

void RecordReader::check_layer(int layer) const {
  check_range("recorded layer index", layer, static_cast<std::int64_t>(header_.plan.layers.size()));
}

void RecordReader::check_head(int layer, int head) const {
  check_layer(layer);
  check_range("head", head, header_.model.num_heads);
}

Buffer<float> RecordReader::stored_statistic(std::string_view id, int layer) const {
  const StatisticInfo& info = require_statistic(id);
  const hsize_t l = extent(layer), heads = extent(header_.model.num_heads), rows = extent(info_.num_rows);
  const std::string name = statistic_path(info, base_statistic(id).has_value());
  const auto segment = group_mass_segment(id);
  if (segment) check_range("segment", *segment, static_cast<std::int64_t>(info_.header.segments.size()));
  if (!recorded(name) || (info.id == "group_mass" && !segment)) {
    const std::string hint = info.id == "group_mass" && !segment ? " as a whole: ask for group_mass:<segment>" : "";
    throw_invalid(fmt::format("statistic '{}' is not recorded in layer {}{}", id,
                              header_.plan.layers[static_cast<std::size_t>(layer)], hint));
  }
  if (segment) {
    Buffer<float> out(heads * rows);
    const StoredArray& from = file_.array(path(name), 4);
    file_.check_budget(from, heads * rows * sizeof(float));
    file_.read_floats(from, {l, 0, 0, extent(*segment)}, {1, heads, rows, 1}, out.data());
    return out;
  }
  Buffer<float> out = file_.read_floats(path(name), {l, 0, 0}, {1, heads, rows});
  if (info.is_integer)
    for (float& value : out)
      if (value < -1.0f) value = kNan;
  return out;
}

Buffer<float> RecordReader::statistic(std::string_view id, int layer) const {
  check_layer(layer);
  return derive_statistic(id, layer_geometry(info_, layer), header_.model.num_heads,
                          [&](std::string_view wanted) { return stored_statistic(wanted, layer); });
}

Buffer<float> RecordReader::head_statistic(std::string_view id) const {
  const StatisticInfo& info = require_statistic(id);
  const auto layers = header_.plan.layers.size();
  const auto heads = static_cast<std::size_t>(header_.model.num_heads);
  const std::string stored = "head_stats/" + std::string(info.id);
  // Written when the record ended; an interrupted one is computed from its rows.
  const bool is_final = file_.integer("/rec/0", "n_rows") >= 0;
  if (is_final && !group_mass_segment(id) && !base_statistic(id) && file_.has(path(stored))) {
    Buffer<float> value_lh = file_.read_floats(path(stored), {0, 0}, {layers, heads});
    if (std::any_of(value_lh.begin(), value_lh.end(), [](float v) { return !std::isnan(v); })) return value_lh;
  }
  Buffer<float> value_lh(layers * heads);
  for (std::size_t l = 0; l < layers; ++l) {
    const int layer = static_cast<int>(l);
    const Buffer<float> value_h =
        derive_head_statistic(id, layer_geometry(info_, layer), header_.model.num_heads,
                              [&](std::string_view wanted) { return stored_statistic(wanted, layer); });
    std::copy(value_h.begin(), value_h.end(), value_lh.data() + l * heads);
  }
  return value_lh;
}

std::vector<std::string> RecordReader::available_statistics() const {
  std::vector<std::string> ids;
  for (const StatisticInfo& info : statistics()) {
    if (info.kind == StatisticKind::head || !info.recorded || info.id == "group_mass") continue;
    for (const bool base : {false, true})
      if (recorded(statistic_path(info, base))) ids.push_back(std::string(info.id) + (base ? "_base" : ""));
  }
  if (recorded("row/group_mass"))
    for (std::size_t s = 0; s < info_.header.segments.size(); ++s) ids.push_back(fmt::format("group_mass:{}", s));
  return with_derived_statistics(ids);
}

bool RecordReader::head_recorded(int layer, int head) const {
  check_head(layer, head);
  const auto at = static_cast<std::size_t>(layer) * static_cast<std::size_t>(header_.model.num_heads);
  return info_.has_replay && recorded_lh_[at + static_cast<std::size_t>(head)] != 0;
}

void RecordReader::read_operand(char which, int layer, int series, std::int64_t begin, std::int64_t end,
                                float* out) const {
  check_layer(layer);
  std::int64_t offset = 0;
  if (which == 'q') {
    if (!head_recorded(layer, series))
      throw_invalid(fmt::format("queries of layer {} head {} are not recorded",
                                header_.plan.layers[static_cast<std::size_t>(layer)], series));
    offset = std::clamp<std::int64_t>(header_.plan.row_begin, 0, info_.header.num_rows);
    if (begin < info_.replay_row_begin || end > info_.replay_row_end || begin > end)
      throw_invalid(fmt::format("query rows {}:{} are not recorded, only {}:{}", begin, end, info_.replay_row_begin,
                                info_.replay_row_end));
  } else {
    check_range("KV head", series, header_.model.num_kv_heads);
    if (which == 'v' ? !info_.has_values : !info_.has_replay)
      throw_invalid(which == 'v' ? "values are not recorded" : "keys are not recorded");
    if (begin < 0 || begin > end || end > info_.num_rows)
      throw_invalid(fmt::format("keys {}:{} are outside 0:{}", begin, end, info_.num_rows));
  }
  const hsize_t dim = extent(header_.model.head_dim);
  file_.read_floats(file_.array(path(fmt::format("replay/{}", which)), 4),
                    {extent(layer), extent(series), extent(begin - offset), 0}, {1, 1, extent(end - begin), dim}, out);
}

Buffer<float> RecordReader::blocks(int layer, int head, bool sums) const {
  check_head(layer, head);
  if (!info_.has_overview) throw_invalid("no overview is recorded");
  float first = kNan;  // a layer that an interrupted run did not reach holds the fill value
  file_.read_floats(file_.array(path("map/block_sum"), 4), {extent(layer), extent(head), 0, 0}, {1, 1, 1, 1}, &first);
  if (std::isnan(first))
    throw_invalid(
        fmt::format("no overview of layer {} is recorded", header_.plan.layers[static_cast<std::size_t>(layer)]));
  const hsize_t count = extent(info_.block_count);
  return file_.read_floats(path(sums ? "map/block_sum" : "map/block_max"), {extent(layer), extent(head), 0, 0},
                           {1, 1, count, count});
}

Buffer<float> RecordReader::dense(int layer, int head) const {
  check_head(layer, head);
  const auto at = static_cast<std::size_t>(layer) * static_cast<std::size_t>(header_.model.num_heads);
  if (!info_.has_dense || recorded_lh_[at + static_cast<std::size_t>(head)] == 0)
    throw_invalid(fmt::format("no dense map of layer {} head {} is recorded",
                              header_.plan.layers[static_cast<std::size_t>(layer)], head));
  const hsize_t rows = extent(info_.num_rows);
  return file_.read_floats(path("map/full"), {extent(layer), extent(head), 0, 0}, {1, 1, rows, rows});
}

std::vector<TopkRow> RecordReader::topk(int layer, int head) const {
  check_head(layer, head);
  if (!info_.has_topk) throw_invalid("no top-k entries are recorded");
  const auto column = [&](const char* name, hsize_t count) { return file_.read_integers(path(name), count); };
  const auto layers = column("topk/layer", topk_rows_), heads = column("topk/head", topk_rows_);
  const auto queries = column("topk/query", topk_rows_), pointers = column("topk/indptr", topk_rows_ + 1);
  const auto entries = static_cast<std::int64_t>(topk_entries_);
  const int model_layer = header_.plan.layers[static_cast<std::size_t>(layer)];
  std::vector<TopkRow> rows;
  for (std::size_t r = 0; r < layers.size(); ++r) {
    if (pointers[r] < 0 || pointers[r] > pointers[r + 1] || pointers[r + 1] > entries)
      file_.refuse(Errc::damaged, path("topk/indptr"),
                   fmt::format("is not ascending within 0..{} at row {}", entries, r));
    if (layers[r] != model_layer || heads[r] != head) continue;
    if (queries[r] < 0 || queries[r] >= info_.num_rows)
      file_.refuse(Errc::damaged, path("topk/query"),
                   fmt::format("expected a row below {}, found {}", info_.num_rows, queries[r]));
    const auto begin = static_cast<hsize_t>(pointers[r]), end = static_cast<hsize_t>(pointers[r + 1]);
    TopkRow row{model_layer, head, queries[r], {}, std::vector<float>(end - begin), 0.0f};
    for (const std::int64_t key : file_.read_integers(path("topk/indices"), begin, end)) {
      if (key < 0 || key >= info_.num_rows)
        file_.refuse(Errc::damaged, path("topk/indices"),
                     fmt::format("expected a key below {}, found {}", info_.num_rows, key));
      row.keys.push_back(static_cast<std::int32_t>(key));
    }
    file_.read_floats(file_.array(path("topk/data"), 1), {begin}, {end - begin}, row.values.data());
    file_.read_floats(file_.array(path("topk/remainder"), 1), {r}, {1}, &row.remainder);
    rows.push_back(std::move(row));
  }
  return rows;
}

Buffer<float> RecordReader::hidden(std::string_view id) const {
  const auto layers = static_cast<hsize_t>(header_.plan.layers.size()), rows = extent(info_.num_rows);
  const std::string name = "hidden/" + std::string(id);
  const bool per_kv = id == "key_norm" || id == "value_norm", per_head = id == "u_norm";
  const bool per_level = id == "norm_l2" || id == "absmax" || id == "mean" || id == "rms" || id == "cos_first";
  if (!(per_kv || per_head || per_level || id == "x") || !recorded(name))
    throw_invalid(fmt::format("'{}' is not recorded among the hidden-state facts", id));
  if (id == "x")
    return file_.read_floats(path(name), {0, 0, 0},
                             {extent(header_.model.num_layers + 1), rows, extent(header_.model.hidden_size)});
  if (per_level) return file_.read_floats(path(name), {0, 0}, {extent(header_.model.num_layers + 1), rows});
  return file_.read_floats(path(name), {0, 0, 0},
                           {layers, extent(per_kv ? header_.model.num_kv_heads : header_.model.num_heads), rows});
}

void RecordReader::read_states(int level, std::int64_t begin, std::int64_t end, float* out) const {
  if (!info_.has_hidden_states) throw_invalid("no hidden states are recorded");
  check_range("level", level, header_.model.num_layers + 1);
  if (begin < 0 || begin > end || end > info_.num_rows)
    throw_invalid(fmt::format("rows {}:{} are outside 0:{}", begin, end, info_.num_rows));
  file_.read_floats(file_.array(path("hidden/x"), 3), {extent(level), extent(begin), 0},
                    {1, extent(end - begin), extent(header_.model.hidden_size)}, out);
}

std::vector<MassiveActivation> RecordReader::massive() const {
  if (!file_.has(path("hidden/massive/level"))) return {};
  // A file that was not closed may hold entries that do not count yet.
  const bool is_final = file_.integer("/rec/0", "n_rows") >= 0;
  const hsize_t stored = file_.array(path("hidden/massive/level"), 1).dims[0];
  const hsize_t count =
      is_final ? stored : std::min(stored, extent(std::max<std::int64_t>(0, file_.progress().massive)));
  const auto levels = file_.read_integers(path("hidden/massive/level"), count);
  const auto tokens = file_.read_integers(path("hidden/massive/token"), count);
  const auto dims = file_.read_integers(path("hidden/massive/dim"), count);
  const Buffer<float> values = file_.read_floats(path("hidden/massive/value"), {0}, {count});
  std::vector<MassiveActivation> entries;
  for (std::size_t n = 0; n < levels.size(); ++n) {
    if (levels[n] < 0 || levels[n] > header_.model.num_layers || tokens[n] < 0 || tokens[n] >= info_.num_rows ||
        dims[n] < 0 || dims[n] >= header_.model.hidden_size)
      file_.refuse(Errc::damaged, path("hidden/massive/level"), fmt::format("entry {} is outside the record", n));
    entries.push_back({static_cast<std::int32_t>(levels[n]), static_cast<std::int32_t>(dims[n]), tokens[n], values[n]});
  }
  return entries;
}

Buffer<float> RecordReader::last_logits() const {
  if (!recorded("logits/last_full")) throw_invalid("no logits are recorded");
  return file_.read_floats(path("logits/last_full"), {0}, {extent(header_.model.vocab_size)});
}

void RecordReader::read_last_top(std::vector<std::int32_t>& id, std::vector<float>& logprob, float& entropy) const {
  const std::int64_t last = info_.header.num_prompt_tokens - 1;
  if (!recorded("logits/top_id") || !recorded("logits/top_logprob") || last < 0 || last >= info_.num_rows) return;
  const hsize_t ranks = file_.array(path("logits/top_id"), 2).dims[1];
  const Buffer<float> ids = file_.read_floats(path("logits/top_id"), {extent(last), 0}, {1, ranks});
  const Buffer<float> values = file_.read_floats(path("logits/top_logprob"), {extent(last), 0}, {1, ranks});
  for (hsize_t k = 0; k < ranks && ids[k] >= 0.0f; ++k) {
    id.push_back(static_cast<std::int32_t>(ids[k]));
    logprob.push_back(values[k]);
  }
  entropy = file_.read_floats(path("logits/entropy"), {extent(last)}, {1})[0];
}

}  // namespace headlight::capture::hdf5

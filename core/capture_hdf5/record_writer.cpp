#include "core/capture_hdf5/record_writer.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "core/capture/derive.h"
#include "core/capture_hdf5/layer_parameters.h"
#include "core/capture_hdf5/token_columns.h"

namespace headlight::capture::hdf5 {
namespace {

std::vector<std::int32_t> counting(std::int64_t begin, std::int64_t end) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(std::max<std::int64_t>(0, end - begin)));
  std::iota(values.begin(), values.end(), static_cast<std::int32_t>(begin));
  return values;
}

constexpr std::size_t kPhaseText = 32;
constexpr hsize_t kMaxPhases = 32;

}  // namespace

RecordWriter::RecordWriter(PartFile& file, const CaptureHeader& header, const RecordHeader& record)
    : file_(file),
      header_(header),
      record_(record),
      shape_(header, record),
      means_(header, record_),
      extent_(shape_.prompt_rows),
      columns_written_(header.plan.layers.size()),
      layer_rows_(header.plan.layers.size(), 0) {
  HEADLIGHT_CHECK(record.layers.size() == header.plan.layers.size());
  file_.create_group("/rec");
  file_.create_group(shape_.group);
  for (const char* group : {"text", "generated", "head_stats", "row", "col", "replay", "map", "topk", "hidden",
                            "hidden/massive", "logits", "timing", "segments"})
    file_.create_group(shape_.group + "/" + group);
  if (!record_.interventions.empty() || shape_.rows_changed) file_.create_group(shape_.group + "/interventions");
  const auto set = [&](const char* name, const AttributeValue& value) {
    file_.set_attribute(shape_.group, name, value);
  };
  set("record_id", record_.record_id);
  set("n_prompt_tokens", record_.num_prompt_tokens);
  set("n_generated", std::int64_t{-1});  // -1: not finished, /live/progress counts
  set("n_rows", std::int64_t{-1});
  set("n_rows_announced", record_.num_rows);
  set("source_line", record_.source_line);
  set("label", record_.label);
  set("first_key", record_.first_key);
  set("bos_present", static_cast<std::uint8_t>(record_.bos_present));
  const bool causal = std::all_of(record_.layers.begin(), record_.layers.end(), [](const auto& l) { return l.causal; });
  set("causal", static_cast<std::uint8_t>(causal));
  set("query_offset", shape_.query_begin);
  set("default", "head_stats/entropy");
  define_scales();
  define_text();
  for (ArraySpec& spec : record_arrays(header_, record_, shape_)) file_.create_array(std::move(spec));
  file_.create_dimension(shape_.group + "/timing/phase_number", 0);
  ArraySpec phase;
  phase.path = shape_.group + "/timing/phase";
  phase.axes = "phase_number";
  phase.element = Element::text;
  phase.text_bytes = kPhaseText;
  phase.dims = {0};
  phase.growing_axis = 0;
  phase.chunk = {kMaxPhases};
  phase.fill_is_missing = false;
  phase.long_name = "phase of the run";
  file_.create_array(phase);
  phase.path = shape_.group + "/timing/seconds";
  phase.element = Element::f64;
  phase.units = "s";
  phase.long_name = "wall time of the phase";
  file_.create_array(phase);
}

void RecordWriter::define_scales() {
  const std::string& g = shape_.group;
  const std::int64_t rows = shape_.prompt_rows, tokens = static_cast<std::int64_t>(record_.tokens.size());
  file_.create_scale(g + "/layer", header_.plan.layers, false, "layer of the model");
  file_.create_scale(g + "/head", counting(0, shape_.heads), false, "query head");
  file_.create_scale(g + "/kv_head", counting(0, shape_.kv_heads), false, "KV head");
  file_.create_scale(g + "/level", counting(0, shape_.levels), false, "residual state: level l enters layer l");
  file_.create_scale(g + "/query", counting(0, rows), true, "query position", "token");
  file_.create_scale(g + "/key", counting(0, rows), true, "key position", "token");
  file_.create_scale(g + "/token", counting(0, tokens), true, "token position", "token");
  const std::int64_t kept = std::clamp(rows, shape_.query_begin, shape_.query_end);
  file_.create_scale(g + "/replay_query", counting(shape_.query_begin, kept), true, "query position of stored q",
                     "token");
  file_.create_scale(g + "/block_row", counting(0, shape_.blocks), false, "block of queries");
  file_.create_scale(g + "/block_col", counting(0, shape_.blocks), false, "block of keys");
  file_.create_scale(g + "/rank", counting(0, kLogitTop), false, "rank, 0 = most probable");
  file_.create_dimension(g + "/dim", extent(shape_.head_dim));
  file_.create_dimension(g + "/hidden_dim", extent(shape_.hidden));
  file_.create_dimension(g + "/vocab", extent(shape_.vocab));
  file_.create_dimension(g + "/segment", extent(shape_.segments));
  file_.create_dimension(g + "/step", 0);
  file_.create_dimension(g + "/token_pointer", extent(tokens + 1));
  for (const char* name : {"topk/topk_row", "topk/topk_entry", "hidden/massive/massive_entry"})
    file_.create_dimension(g + "/" + name, 0);
  file_.create_dimension(g + "/topk/topk_pointer", 1);
  if (shape_.rows_changed) file_.create_dimension(g + "/interventions/row_plan_byte", 0);
}

void RecordWriter::define_text() {
  const std::string group = shape_.group + "/text";
  file_.create_dimension(group + "/utf8_byte", record_.text.size());
  file_.create_bytes(group + "/utf8", "utf8_byte", record_.text, "the prompt exactly as given");
  if (!record_.interventions.empty()) {
    file_.create_dimension(shape_.group + "/interventions/stack_byte", record_.interventions.size());
    file_.create_bytes(shape_.group + "/interventions/stack", "stack_byte", record_.interventions,
                       "interventions that acted, UTF-8 JSON");
  }
  ArraySpec pieces;
  pieces.path = group + "/piece_utf8";
  pieces.axes = "piece_byte";
  pieces.element = Element::u8;
  pieces.dims = {0};
  pieces.growing_axis = 0;
  pieces.chunk = {std::clamp<hsize_t>(8 * record_.tokens.size(), 256, 65536)};
  pieces.fill = 0;
  pieces.fill_is_missing = false;
  pieces.long_name = "token texts as in the vocabulary, one after the other";
  file_.create_dimension(group + "/piece_byte", 0);
  file_.create_array(std::move(pieces));
  std::vector<std::string> names;
  std::vector<std::int32_t> begin, end;
  std::size_t longest = 1;
  for (const Segment& segment : record_.segments) {
    names.push_back(segment.name);
    longest = std::clamp<std::size_t>(segment.name.size(), longest, 256);
    begin.push_back(static_cast<std::int32_t>(segment.begin));
    end.push_back(static_cast<std::int32_t>(segment.end));
  }
  file_.create_texts(shape_.group + "/segments/name", "segment", names, longest, "name of the segment");
  for (const bool first : {true, false}) {
    ArraySpec spec;
    spec.path = shape_.group + (first ? "/segments/begin" : "/segments/end");
    spec.axes = "segment";
    spec.element = Element::i32;
    spec.dims = {names.size()};
    spec.fill = -1;
    spec.fill_is_missing = false;
    spec.units = "token";
    spec.long_name = first ? "first token" : "token behind the segment";
    file_.create_array(std::move(spec)).write({0}, {names.size()}, first ? begin.data() : end.data());
  }
}

void RecordWriter::start() {
  append_tokens(record_.tokens, true);
  write_parameters();
  if (const std::int64_t zero = 0; file_.has_array(shape_.group + "/topk/indptr"))
    array("topk/indptr").write({0}, {1}, &zero);
  file_.add_journal(2, 0, record_.num_rows);
}

void RecordWriter::append_tokens(std::span<const TokenInfo> tokens, bool at_creation) {
  const hsize_t begin = extent(num_tokens_), end = begin + tokens.size();
  if (!at_creation) {
    file_.grow_scale(shape_.group + "/token", end);
    file_.grow_scale(shape_.group + "/token_pointer", end + 1);
  }
  piece_bytes_ = write_tokens(file_, TokenColumns::of_record(shape_.group), begin, piece_bytes_, tokens);
  num_tokens_ = static_cast<std::int64_t>(end);
  file_.check_disk();
}

void RecordWriter::write_parameters() {
  write_layer_parameters(file_, shape_.group + "/replay", header_, record_.layers);
  std::vector<std::uint8_t> recorded = header_.plan.heads_lh;
  if (header_.plan.level == CaptureLevel::summary) std::fill(recorded.begin(), recorded.end(), std::uint8_t{0});
  array("replay/recorded").write({0, 0}, {extent(shape_.layers), extent(shape_.heads)}, recorded.data());
  file_.check_disk();
}

// Every array along the rows gets them at once, so that dimensions agree whenever somebody looks.
void RecordWriter::grow_rows(std::int64_t rows) {
  if (rows <= extent_) return;
  HEADLIGHT_CHECK(rows <= shape_.rows);
  extent_ = rows;
  const hsize_t kept = extent(std::clamp(rows, shape_.query_begin, shape_.query_end) - shape_.query_begin);
  file_.grow_scale(shape_.group + "/query", extent(rows));
  file_.grow_scale(shape_.group + "/key", extent(rows));
  file_.grow_scale(shape_.group + "/replay_query", kept);
  file_.for_each_axis(shape_.group, [&](ArrayWriter& out, std::string_view axis, int index) {
    if (axis == "query" || axis == "key") out.grow(index, extent(rows));
    if (axis == "replay_query") out.grow(index, kept);
  });
  file_.check_disk();
}

void RecordWriter::write_base_rows(const LayerRows& rows) {
  const Sizes start{extent(rows.index), 0, extent(rows.row_begin)},
      count{1, extent(shape_.heads), extent(rows.num_rows)};
  for (const StatisticInfo& info : statistics()) {
    if (info.kind != StatisticKind::row || !info.recorded || info.id == "group_mass") continue;
    const void* values = info.id == "jmax" ? static_cast<const void*>(rows.jmax) : row_values(rows, info.id);
    array(statistic_path(info, true)).write(start, count, values, {0, rows.row_stride, 1}, &file_.pool());
  }
  file_.check_disk();
}

void RecordWriter::write_row_plan(int index, const RowPlan& plan) {
  Json json = {{"layer", header_.plan.layers[static_cast<std::size_t>(index)]}};
  json.update(plan.to_json());
  const std::string line = dump_json(json, -1) + "\n";
  row_plan_bytes_ += line.size();
  file_.grow_scale(shape_.group + "/interventions/row_plan_byte", row_plan_bytes_);
  array("interventions/rows").append(line.data(), line.size());
  file_.check_disk();
}

void RecordWriter::write_rows(const LayerRows& rows) {
  if (rows.base) return write_base_rows(rows);
  const std::int64_t end = rows.row_begin + rows.num_rows;
  grow_rows(end);
  const hsize_t layer = extent(rows.index), begin = extent(rows.row_begin), count = extent(rows.num_rows);
  const auto put = [&](const std::string& name, const void* values, std::int64_t series) {
    if (values == nullptr) return;
    array(name).write({layer, 0, begin}, {1, extent(series), count}, values, {0, rows.row_stride, 1}, &file_.pool());
  };
  for (const StatisticInfo& info : statistics())
    if (info.kind == StatisticKind::row && info.recorded && info.id != "jmax" && info.id != "group_mass")
      put("row/" + std::string(info.id), row_values(rows, info.id), shape_.heads);
  put("row/jmax", rows.jmax, shape_.heads);
  put("hidden/key_norm", rows.key_norm_gi, shape_.kv_heads);
  put("hidden/value_norm", rows.value_norm_gi, shape_.kv_heads);
  put("hidden/u_norm", rows.u_norm_hi, shape_.heads);
  if (rows.group_mass != nullptr && shape_.segments > 0)
    array("row/group_mass")
        .write({layer, 0, begin, 0}, {1, extent(shape_.heads), count, extent(shape_.segments)}, rows.group_mass,
               {0, rows.row_stride * shape_.segments, shape_.segments, 1}, &file_.pool());
  if (header_.plan.level != CaptureLevel::summary) {
    write_operand("replay/q", rows, rows.q_ihd, rows.q_stride, shape_.heads);
    write_operand("replay/k", rows, rows.k_igd, rows.kv_stride, shape_.kv_heads);
    if (header_.plan.store_values) write_operand("replay/v", rows, rows.v_igd, rows.kv_stride, shape_.kv_heads);
  }
  means_.add_rows(rows);
  std::int64_t& there = layer_rows_[static_cast<std::size_t>(rows.index)];
  if (rows.row_begin <= there) there = std::max(there, end);
  file_.check_disk();
}

void RecordWriter::write_operand(const char* name, const LayerRows& rows, const float* values, std::int64_t stride,
                                 std::int64_t series) {
  if (values == nullptr) return;
  const bool queries = name[7] == 'q';
  const std::int64_t first = queries ? shape_.query_begin : 0, limit = queries ? shape_.query_end : shape_.rows;
  const std::int64_t from = std::clamp(rows.row_begin, first, limit),
                     to = std::clamp(rows.row_begin + rows.num_rows, first, limit);
  if (from >= to) return;
  ArrayWriter& out = array(name);
  const std::ptrdiff_t dim = shape_.head_dim;
  const auto write = [&](std::int64_t begin, std::int64_t end) {  // series
    out.write({extent(rows.index), extent(begin), extent(from - first), 0},
              {1, extent(end - begin), extent(to - from), extent(dim)},
              values + (from - rows.row_begin) * stride + begin * dim, {0, dim, stride, 1}, &file_.pool());
  };
  if (!queries) return write(0, series);
  for (std::int64_t h = 0; h < series;) {  // runs of chosen heads
    const auto kept = [&](std::int64_t head) {
      return header_.plan.heads_lh[static_cast<std::size_t>(rows.index * series + head)] != 0;
    };
    std::int64_t end = h;
    while (end < series && kept(end)) ++end;
    if (end > h) write(h, end);
    h = end + 1;
  }
}

void RecordWriter::write_columns(const LayerColumns& columns) {
  grow_rows(columns.num_keys);
  const hsize_t layer = extent(columns.index), heads = extent(shape_.heads), keys = extent(columns.num_keys);
  for (const auto& [id, values] :
       {std::pair{"received", columns.received}, std::pair{"received_tail", columns.received_tail}})
    if (values != nullptr)
      array(statistic_path(require_statistic(id), columns.base))
          .write({layer, 0, 0}, {1, heads, keys}, values, {0, columns.col_stride, 1}, &file_.pool());
  if (columns.base) return file_.check_disk();
  means_.set_columns(columns);
  // Generated rows still change the blocks, which are packed: they are written once, with the last columns.
  const bool is_last = !shape_.generates || columns_written_[static_cast<std::size_t>(columns.index)];
  columns_written_[static_cast<std::size_t>(columns.index)] = true;
  if (is_last && header_.plan.overview && columns.block_sum != nullptr && columns.block_max != nullptr) {
    HEADLIGHT_CHECK(columns.block_count == shape_.blocks);
    const hsize_t blocks = extent(shape_.blocks);
    array("map/block_sum").write({layer, 0, 0, 0}, {1, heads, blocks, blocks}, columns.block_sum, &file_.pool());
    array("map/block_max").write({layer, 0, 0, 0}, {1, heads, blocks, blocks}, columns.block_max, &file_.pool());
  }
  file_.check_disk();
}

void RecordWriter::write_dense(const DenseRows& rows) {
  if (header_.plan.level != CaptureLevel::maps) return;
  grow_rows(rows.row_begin + rows.num_rows);
  ArrayWriter& out = array("map/full");
  const std::int64_t edge = static_cast<std::int64_t>(out.spec().chunk[2]);
  const bool causal = record_.layers[static_cast<std::size_t>(rows.index)].causal;
  // Strips of chunks; keys behind the last row of a strip are invisible and stay unwritten.
  for (std::int64_t i = 0; i < rows.num_rows;) {
    const std::int64_t row = rows.row_begin + i, strip = std::min(rows.num_rows - i, edge - row % edge);
    const std::int64_t reach = causal ? std::min(rows.num_keys, (row + strip + edge - 1) / edge * edge) : rows.num_keys;
    out.write({extent(rows.index), extent(rows.head), extent(row), 0}, {1, 1, extent(strip), extent(reach)},
              rows.attn_ij + i * rows.num_keys, {0, 0, rows.num_keys, 1}, &file_.pool());
    i += strip;
  }
  file_.check_disk();
}

void RecordWriter::write_topk(std::span<const TopkRow> rows) {
  if (!file_.has_array(shape_.group + "/topk/layer")) return;
  std::vector<std::int32_t> layer, head, query, keys;
  std::vector<std::int64_t> pointers;
  std::vector<float> values, remainder;
  for (const TopkRow& row : rows) {
    HEADLIGHT_CHECK(row.keys.size() == row.values.size());
    layer.push_back(row.layer);
    head.push_back(row.head);
    query.push_back(static_cast<std::int32_t>(row.query));
    remainder.push_back(row.remainder);
    keys.insert(keys.end(), row.keys.begin(), row.keys.end());
    values.insert(values.end(), row.values.begin(), row.values.end());
    pointers.push_back(topk_entries_ + static_cast<std::int64_t>(keys.size()));
  }
  topk_rows_ += static_cast<std::int64_t>(rows.size());
  topk_entries_ += static_cast<std::int64_t>(keys.size());
  const std::string group = shape_.group + "/topk/";
  file_.grow_scale(group + "topk_row", extent(topk_rows_));
  file_.grow_scale(group + "topk_entry", extent(topk_entries_));
  file_.grow_scale(group + "topk_pointer", extent(topk_rows_ + 1));
  array("topk/layer").append(layer.data(), layer.size());
  array("topk/head").append(head.data(), head.size());
  array("topk/query").append(query.data(), query.size());
  array("topk/remainder").append(remainder.data(), remainder.size());
  array("topk/indices").append(keys.data(), keys.size());
  array("topk/data").append(values.data(), values.size());
  array("topk/indptr").append(pointers.data(), pointers.size());
  file_.check_disk();
}

void RecordWriter::write_hidden(const HiddenRows& rows) {
  grow_rows(rows.row_begin + rows.num_rows);
  const Sizes start{extent(rows.level), extent(rows.row_begin)}, count{1, extent(rows.num_rows)};
  const auto put = [&](const char* name, const void* values) {
    if (values != nullptr) array(std::string("hidden/") + name).write(start, count, values);
  };
  put("norm_l2", rows.norm_l2);
  put("absmax", rows.absmax);
  put("absmax_dim", rows.absmax_dim);
  put("mean", rows.mean);
  put("rms", rows.rms);
  put("cos_first", rows.cos_first);
  if (rows.x_id != nullptr && header_.plan.hidden_states)
    array("hidden/x").write({start[0], start[1], 0}, {1, count[1], extent(shape_.hidden)}, rows.x_id, &file_.pool());
  file_.check_disk();
}

void RecordWriter::write_massive(std::span<const MassiveActivation> entries) {
  massive_ += static_cast<std::int64_t>(entries.size());
  file_.grow_scale(shape_.group + "/hidden/massive/massive_entry", extent(massive_));
  const auto put = [&]<class T>(const char* name, T MassiveActivation::*member) {
    std::vector<T> values;
    for (const MassiveActivation& entry : entries) values.push_back(entry.*member);
    array(std::string("hidden/massive/") + name).append(values.data(), values.size());
  };
  put("level", &MassiveActivation::level);
  put("token", &MassiveActivation::token);
  put("dim", &MassiveActivation::dim);
  put("value", &MassiveActivation::value);
  file_.check_disk();
}

void RecordWriter::write_logits(const LogitRows& rows) {
  if (header_.plan.logits == LogitsKept::none) return;
  grow_rows(rows.row_begin + rows.num_rows);
  const hsize_t begin = extent(rows.row_begin), count = extent(rows.num_rows);
  const hsize_t kept = extent(std::min(rows.k, kLogitTop));
  if (rows.top_id != nullptr)
    array("logits/top_id").write({begin, 0}, {count, kept}, rows.top_id, {rows.k, 1}, nullptr);
  if (rows.top_logprob != nullptr)
    array("logits/top_logprob").write({begin, 0}, {count, kept}, rows.top_logprob, {rows.k, 1}, nullptr);
  if (rows.entropy != nullptr) array("logits/entropy").write({begin}, {count}, rows.entropy);
  if (rows.target_logprob != nullptr) array("logits/target_logprob").write({begin}, {count}, rows.target_logprob);
  if (!rows.full.empty() && shape_.vocab > 0) {
    const std::size_t vocab = static_cast<std::size_t>(shape_.vocab), stored = rows.full.size() / vocab;
    const std::int64_t last = record_.num_prompt_tokens - 1, at = stored == 1 ? 0 : last - rows.row_begin;
    if (header_.plan.logits == LogitsKept::all && stored == count)
      array("logits/full").write({begin, 0}, {count, vocab}, rows.full.data(), &file_.pool());
    if (rows.row_begin <= last && last < rows.row_begin + rows.num_rows)
      array("logits/last_full").write({0}, {vocab}, rows.full.data() + static_cast<std::size_t>(at) * vocab);
  }
  file_.check_disk();
}

void RecordWriter::append_generated(const TokenInfo& token, float logprob) {
  append_tokens(std::span(&token, 1), false);
  ++num_generated_;
  file_.grow_scale(shape_.group + "/step", extent(num_generated_));
  array("generated/token_id").append(&token.id, 1);
  array("generated/logprob").append(&logprob, 1);
  file_.check_disk();
}

void RecordWriter::finish(std::int64_t rows_done, const std::vector<std::pair<std::string, double>>& timing) {
  rows_done_ = std::min(rows_done, progress().num_rows());  // rows that a failure kept from being written do not count
  const hsize_t layers = extent(shape_.layers), heads = extent(shape_.heads);
  for (const std::string& id : head_statistic_ids())
    array("head_stats/" + id).write({0, 0}, {layers, heads}, means_.values(id).data());
  std::vector<std::int32_t> visible(static_cast<std::size_t>(shape_.layers * extent_), 0);
  for (int l = 0; l < static_cast<int>(shape_.layers); ++l) {
    const LayerGeometry geometry = layer_geometry(record_, rows_done_, l);
    for (std::int64_t j = 0; j < rows_done_; ++j)
      visible[static_cast<std::size_t>(l * extent_ + j)] = static_cast<std::int32_t>(geometry.visible_rows(j));
  }
  array("col/visible_count").write({0, 0}, {layers, extent(extent_)}, visible.data());
  std::vector<std::string> names;
  std::vector<double> seconds;
  for (const auto& [name, value] : timing) {
    if (seconds.size() == kMaxPhases) break;
    names.push_back(name);
    seconds.push_back(file_.is_reproducible() ? std::numeric_limits<double>::quiet_NaN() : value);
  }
  file_.grow_scale(shape_.group + "/timing/phase_number", seconds.size());
  array("timing/phase").append(pack_texts(names, kPhaseText).data(), seconds.size());
  array("timing/seconds").append(seconds.data(), seconds.size());
  file_.add_journal(3, 0, rows_done_);
  file_.check_disk();
}

void RecordWriter::seal() {
  file_.set_final(shape_.group, "n_rows", rows_done_);
  file_.set_final(shape_.group, "n_generated", num_generated_);
}

LiveProgress RecordWriter::progress() const {
  LiveProgress progress;
  const auto [least, most] = std::minmax_element(layer_rows_.begin(), layer_rows_.end());
  progress.layers_done =
      std::count_if(layer_rows_.begin(), layer_rows_.end(), [&](auto rows) { return rows >= shape_.prompt_rows; });
  progress.rows_complete = layer_rows_.empty() ? 0 : *least;
  progress.rows_begun = layer_rows_.empty() ? 0 : *most;
  progress.tokens = num_tokens_;
  progress.topk_rows = topk_rows_;
  progress.topk_entries = topk_entries_;
  progress.massive = massive_;
  progress.state = 1;
  progress.num_records = 1;
  progress.record = rows_done_ >= 0 ? 1 : 0;
  return progress;
}

}  // namespace headlight::capture::hdf5

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "core/capture/log_code.h"
#include "core/capture_hdf5/layer_parameters.h"
#include "core/capture_hdf5/layout.h"

namespace headlight::capture::hdf5 {
namespace {

constexpr FilterSet kPacked{.shuffle = true, .deflate = true};
constexpr std::int64_t kRowLimit = 4096, kHeadLimit = 32, kReplayRowLimit = 1024, kMapEdge = 256;

/// One value per recorded layer (and head): written once, so contiguous.
ArraySpec small_array(const std::string& path, const std::string& axes, Element element, Sizes dims,
                      const std::string& long_name) {
  ArraySpec spec;
  spec.path = path;
  spec.axes = axes;
  spec.element = element;
  spec.dims = std::move(dims);
  spec.long_name = long_name;
  spec.fill_is_missing = element == Element::f32;
  if (element != Element::f32) spec.fill = 0;
  return spec;
}

/// A list that grows at its end.
ArraySpec table(const std::string& path, const std::string& axis, Element element, const std::string& long_name,
                std::int64_t rows = 0, std::int64_t chunk = 1024) {
  ArraySpec spec;
  spec.path = path;
  spec.axes = axis;
  spec.element = element;
  spec.dims = {extent(rows)};
  spec.growing_axis = 0;
  spec.chunk = {extent(chunk)};
  spec.long_name = long_name;
  spec.fill_is_missing = element == Element::f32;
  if (element != Element::f32) spec.fill = -1;
  return spec;
}

/// A recorded row or column statistic; `base`: without interventions.
ArraySpec statistic_array(const StatisticInfo& info, const RecordShape& s, bool base) {
  const bool row = info.kind == StatisticKind::row;
  ArraySpec spec = row_array(s.group + "/" + statistic_path(info, base), row ? "layer,head,query" : "layer,head,key",
                             info.is_integer ? Element::i32 : Element::f32, s, s.layers, s.heads, !s.generates);
  if (info.is_integer) spec.fill = std::numeric_limits<std::int32_t>::min();
  spec.units = info.unit;
  spec.long_name = std::string(info.long_name) + (base ? ", without interventions" : "");
  spec.attributes = {{"statistic_kind", std::string(info.id)}, {"definition_version", std::int32_t{info.version}}};
  return spec;
}

void add_statistics(std::vector<ArraySpec>& out, const RecordShape& s) {
  const bool filtered = !s.generates;
  for (const StatisticInfo& info : statistics()) {
    const std::string id(info.id);
    if (info.kind != StatisticKind::head && info.recorded && id != "group_mass") {
      out.push_back(statistic_array(info, s, false));
      if (s.has_base) out.push_back(statistic_array(info, s, true));
    }
    if (id == "jmax" || id == "group_mass") continue;
    ArraySpec head =
        small_array(s.group + "/head_stats/" + id, "layer,head", Element::f32, {extent(s.layers), extent(s.heads)},
                    std::string(info.long_name) + ", value of the head");
    head.units = info.unit;
    head.attributes = {{"statistic_kind", id}, {"definition_version", std::int32_t{info.version}}};
    out.push_back(std::move(head));
  }
  if (s.segments > 0) {
    ArraySpec spec = row_array(s.group + "/row/group_mass", "layer,head,query,segment", Element::f32, s, s.layers,
                               s.heads, filtered);
    for (Sizes* sizes : {&spec.dims, &spec.full, &spec.chunk}) sizes->push_back(extent(s.segments));
    spec.chunk[2] = extent(chunk_rows(s.rows, std::max<std::int64_t>(1, kRowLimit / s.segments)));
    spec.units = "1";
    spec.long_name = "mass on each segment of the text";
    spec.attributes = {{"statistic_kind", "group_mass"}, {"definition_version", std::int32_t{1}}};
    out.push_back(std::move(spec));
  }
  ArraySpec count = small_array(s.group + "/col/visible_count", "layer,key", Element::i32, {extent(s.layers), 0},
                                "rows that see the key");
  count.dims[1] = extent(s.prompt_rows);
  count.full = {extent(s.layers), extent(s.rows)};
  count.growing_axis = 1;
  count.chunk = {1, extent(chunk_rows(s.rows, kRowLimit))};
  count.units = "1";
  out.push_back(std::move(count));
}

void add_replay(std::vector<ArraySpec>& out, const CaptureHeader& header, const RecordShape& s) {
  const std::string group = s.group + "/replay/";
  for (ArraySpec& spec : layer_parameter_arrays(s.group + "/replay", header)) out.push_back(std::move(spec));
  const Sizes per_head{extent(s.layers), extent(s.heads)};
  out.push_back(small_array(group + "recorded", "layer,head", Element::u8, per_head, "1 = q of the head is stored"));
  if (header.plan.level == CaptureLevel::summary) return;
  const Element element = header.plan.replay_dtype == DType::f32   ? Element::f32
                          : header.plan.replay_dtype == DType::f16 ? Element::f16
                                                                   : Element::bf16;
  const auto operand = [&](const char* name, const char* axes, std::int64_t series, std::int64_t begin,
                           std::int64_t end, const char* long_name) {
    ArraySpec spec = row_array(group + name, axes, element, s, s.layers, series, false);
    spec.dims[2] = extent(std::clamp(s.prompt_rows, begin, end) - begin);
    spec.full[2] = extent(end - begin);
    for (Sizes* sizes : {&spec.dims, &spec.full}) sizes->push_back(extent(s.head_dim));
    spec.chunk = {1, 1, extent(chunk_rows(end - begin, kReplayRowLimit)), extent(s.head_dim)};
    spec.long_name = long_name;
    spec.units = "1";
    spec.fill_is_missing = element != Element::bf16;
    out.push_back(std::move(spec));
  };
  operand("q", "layer,head,replay_query,dim", s.heads, s.query_begin, s.query_end,
          "queries as multiplied: after norm and rotary embedding");
  operand("k", "layer,kv_head,key,dim", s.kv_heads, 0, s.rows, "keys as multiplied");
  if (header.plan.store_values) operand("v", "layer,kv_head,key,dim", s.kv_heads, 0, s.rows, "values as multiplied");
}

void add_maps(std::vector<ArraySpec>& out, const CaptureHeader& header, const RecordShape& s) {
  if (header.plan.overview) {
    for (const bool sum : {false, true}) {
      ArraySpec spec;
      spec.path = s.group + (sum ? "/map/block_sum" : "/map/block_max");
      spec.axes = "layer,head,block_row,block_col";
      spec.element = sum ? Element::f16 : Element::log8;
      spec.dims = {extent(s.layers), extent(s.heads), extent(s.blocks), extent(s.blocks)};
      const std::int64_t group =
          std::clamp<std::int64_t>(65536 / std::max<std::int64_t>(1, s.blocks * s.blocks), 1, s.heads);
      spec.chunk = {1, extent(group), extent(std::min(s.blocks, kMapEdge)), extent(std::min(s.blocks, kMapEdge))};
      spec.filters = {.shuffle = sum, .deflate = true};
      spec.fill_is_missing = sum;
      if (!sum) spec.fill = 0;
      spec.units = "1";
      spec.long_name = sum ? "sum of the weights of a block" : "largest weight of a block";
      spec.attributes = {{"block_size", static_cast<std::int64_t>(overview_block_edge(s.rows))}};
      out.push_back(std::move(spec));
    }
  }
  if (header.plan.level != CaptureLevel::maps) return;
  ArraySpec full;
  full.path = s.group + "/map/full";
  full.axes = "layer,head,query,key";
  full.dims = {extent(s.layers), extent(s.heads), extent(s.prompt_rows), extent(s.prompt_rows)};
  full.full = {extent(s.layers), extent(s.heads), extent(s.rows), extent(s.rows)};
  full.chunk = {1, 1, extent(chunk_rows(s.rows, kMapEdge)), extent(chunk_rows(s.rows, kMapEdge))};
  if (!s.generates) full.filters = kPacked;
  full.fill = 0;
  full.fill_is_missing = false;
  full.units = "1";
  full.long_name = "attention weights, 0 = invisible";
  full.attributes = {{"status", "dense"}};
  out.push_back(std::move(full));
}

void add_topk(std::vector<ArraySpec>& out, const CaptureHeader& header, const RecordShape& s) {
  if (header.plan.topk <= 0 || header.plan.topk_rows <= 0) return;
  const std::string group = s.group + "/topk/";
  const std::int64_t rows = std::min<std::int64_t>(header.plan.topk_rows, s.rows) * s.heads * s.layers;
  const std::int64_t chunk = std::clamp<std::int64_t>(rows, 64, 16384);
  const std::int64_t entry_chunk = std::clamp<std::int64_t>(rows * header.plan.topk, 64, 65536);
  out.push_back(table(group + "layer", "topk_row", Element::i32, "model layer of the row", 0, chunk));
  out.push_back(table(group + "head", "topk_row", Element::i32, "head of the row", 0, chunk));
  out.push_back(table(group + "query", "topk_row", Element::i32, "query position of the row", 0, chunk));
  out.push_back(table(group + "indptr", "topk_pointer", Element::i64, "first entry of each row; one more at the end", 1,
                      chunk + 1));
  out.push_back(table(group + "indices", "topk_entry", Element::i32, "key, ascending in a row", 0, entry_chunk));
  out.push_back(table(group + "data", "topk_entry", Element::f32, "weight", 0, entry_chunk));
  out.push_back(table(group + "remainder", "topk_row", Element::f32, "mass of the keys not listed", 0, chunk));
}

void add_hidden(std::vector<ArraySpec>& out, const CaptureHeader& header, const RecordShape& s) {
  const std::string group = s.group + "/hidden/";
  const auto per_level = [&](const char* name, Element element, const char* long_name) {
    ArraySpec spec = row_array(group + name, "level,query", element, s, s.levels, 0, false);
    spec.long_name = long_name;
    spec.units = "1";
    if (element == Element::i32) spec.fill = -1;
    out.push_back(std::move(spec));
  };
  per_level("norm_l2", Element::f32, "L2 norm of the residual state; level l enters layer l");
  per_level("absmax", Element::f32, "largest magnitude of the residual state");
  per_level("absmax_dim", Element::i32, "dimension of the largest magnitude");
  per_level("mean", Element::f32, "mean over the dimensions");
  per_level("rms", Element::f32, "root mean square over the dimensions");
  per_level("cos_first", Element::f32, "cosine to the state of the first token at this level");
  const auto per_head = [&](const char* name, const char* axes, std::int64_t series, const char* long_name) {
    ArraySpec spec = row_array(group + name, axes, Element::f32, s, s.layers, series, !s.generates);
    spec.long_name = long_name;
    spec.units = "1";
    out.push_back(std::move(spec));
  };
  per_head("key_norm", "layer,kv_head,key", s.kv_heads, "L2 norm of the key");
  per_head("value_norm", "layer,kv_head,key", s.kv_heads, "L2 norm of the value");
  per_head("u_norm", "layer,head,key", s.heads, "|W_O v|: what the head writes per unit of attention");
  if (header.plan.hidden_states) {
    ArraySpec spec = row_array(group + "x", "level,query,hidden_dim", Element::f32, s, s.levels, 0, false);
    for (Sizes* sizes : {&spec.dims, &spec.full}) sizes->push_back(extent(s.hidden));
    spec.chunk = {1, extent(chunk_rows(s.rows, std::max<std::int64_t>(1, (1 << 18) / s.hidden))), extent(s.hidden)};
    spec.long_name = "residual states";
    spec.units = "1";
    out.push_back(std::move(spec));
  }
  out.push_back(table(group + "massive/level", "massive_entry", Element::i32, "level of a massive activation", 0, 256));
  out.push_back(table(group + "massive/token", "massive_entry", Element::i64, "token position", 0, 256));
  out.push_back(table(group + "massive/dim", "massive_entry", Element::i32, "dimension", 0, 256));
  out.push_back(table(group + "massive/value", "massive_entry", Element::f32, "value", 0, 256));
}

void add_logits(std::vector<ArraySpec>& out, const CaptureHeader& header, const RecordShape& s) {
  if (header.plan.logits == LogitsKept::none) return;
  const std::string group = s.group + "/logits/";
  // One row of a prompt is common: small chunks, so that it takes no space for the rows that are not there.
  const std::int64_t rows = chunk_rows(s.rows, 64);
  const auto per_row = [&](const char* name, const char* axes, Element element, std::int64_t width,
                           const char* long_name) {
    ArraySpec spec;
    spec.path = group + name;
    spec.axes = axes;
    spec.element = element;
    spec.dims = {extent(s.prompt_rows)};
    spec.full = {extent(s.rows)};
    spec.chunk = {extent(rows)};
    if (width > 0)
      for (Sizes* sizes : {&spec.dims, &spec.full, &spec.chunk}) sizes->push_back(extent(width));
    spec.growing_axis = 0;
    spec.long_name = long_name;
    spec.units = element == Element::f32 ? "nat" : "1";
    if (element == Element::i32) spec.fill = -1;
    out.push_back(std::move(spec));
  };
  per_row("top_id", "query,rank", Element::i32, kLogitTop, "most probable next tokens, falling");
  per_row("top_logprob", "query,rank", Element::f32, kLogitTop, "their log-probabilities");
  per_row("entropy", "query", Element::f32, 0, "entropy of the next-token distribution");
  per_row("target_logprob", "query", Element::f32, 0, "log-probability of the token that followed");
  if (s.vocab <= 0) return;
  ArraySpec last =
      small_array(group + "last_full", "vocab", Element::f32, {extent(s.vocab)}, "logits of the last prompt position");
  last.chunk = {extent(s.vocab)};
  last.units = "nat";
  out.push_back(std::move(last));
  if (header.plan.logits == LogitsKept::all) {
    per_row("full", "query,vocab", Element::f32, s.vocab, "logits");
    out.back().chunk = {extent(chunk_rows(s.rows, std::max<std::int64_t>(1, (1 << 18) / s.vocab))), extent(s.vocab)};
  }
}

void add_text(std::vector<ArraySpec>& out, const RecordShape& s, std::int64_t tokens) {
  const std::string group = s.group + "/text/";
  const std::int64_t chunk = std::clamp<std::int64_t>(std::max(tokens, s.rows + 1), 64, 16384);
  const auto per_token = [&](const char* name, Element element, const char* long_name) {
    out.push_back(table(group + name, "token", element, long_name, tokens, chunk));
    out.back().units = "1";
  };
  per_token("token_id", Element::i32, "token id; row i predicted token i+1");
  per_token("token_kind", Element::u8, "kind of token");
  out.back().fill = 0;
  out.back().attributes = {{"flag_values", std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7}},
                           {"flag_meanings", "text bos eos special image audio generated padding"}};
  per_token("token_byte_begin", Element::i64, "first byte in utf8, -1 = no source");
  per_token("token_byte_end", Element::i64, "byte behind the token in utf8");
  per_token("token_char_begin", Element::i64, "first code point in utf8, -1 = no source");
  per_token("token_char_end", Element::i64, "code point behind the token in utf8");
  per_token("segment", Element::i16, "number of the segment, -1 = none");
  out.push_back(table(group + "piece_offset", "token_pointer", Element::i64, "first byte of the token in piece_utf8",
                      tokens + 1, chunk + 1));
  out.push_back(table(s.group + "/generated/token_id", "step", Element::i32, "generated tokens", 0, chunk));
  out.push_back(table(s.group + "/generated/logprob", "step", Element::f32, "their log-probabilities", 0, chunk));
  out.back().units = "nat";
}

}  // namespace

ArraySpec row_array(const std::string& path, const std::string& axes, Element element, const RecordShape& shape,
                    std::int64_t outer, std::int64_t series, bool filtered) {
  ArraySpec spec;
  spec.path = path;
  spec.axes = axes;
  spec.element = element;
  spec.dims = {extent(outer)};
  spec.chunk = {1};
  if (series > 0) {
    spec.dims.push_back(extent(series));
    spec.chunk.push_back(extent(std::min(series, kHeadLimit)));
  }
  spec.full = spec.dims;
  spec.growing_axis = static_cast<int>(spec.dims.size());
  spec.dims.push_back(extent(shape.prompt_rows));
  spec.full.push_back(extent(shape.rows));
  spec.chunk.push_back(extent(chunk_rows(shape.rows, kRowLimit)));
  if (filtered) spec.filters = kPacked;
  return spec;
}

std::vector<ArraySpec> record_arrays(const CaptureHeader& header, const RecordHeader& record,
                                     const RecordShape& shape) {
  std::vector<ArraySpec> arrays;
  add_text(arrays, shape, static_cast<std::int64_t>(record.tokens.size()));
  add_statistics(arrays, shape);
  if (shape.rows_changed)
    arrays.push_back(table(shape.group + "/interventions/rows", "row_plan_byte", Element::u8,
                           "what interventions did to the rows of each layer, a line of JSON each", 0, 4096));
  add_replay(arrays, header, shape);
  add_maps(arrays, header, shape);
  add_topk(arrays, header, shape);
  add_hidden(arrays, header, shape);
  add_logits(arrays, header, shape);
  return arrays;
}

}  // namespace headlight::capture::hdf5

#include "core/capture_hdf5/corpus_tables.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/capture_hdf5/layer_parameters.h"
#include "core/capture_hdf5/layout.h"
#include "core/capture_hdf5/token_columns.h"

namespace headlight::capture::hdf5 {
namespace {

constexpr std::size_t kIdText = 64;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

ArraySpec list(const std::string& name, const std::string& axis, Element element, const std::string& long_name,
               hsize_t chunk, hsize_t rows = 0) {
  ArraySpec spec;
  spec.path = "/corpus/" + name;
  spec.axes = axis;
  spec.element = element;
  spec.text_bytes = element == Element::text ? kIdText : 0;
  spec.dims = {rows};
  spec.growing_axis = 0;
  spec.chunk = {chunk};
  spec.long_name = long_name;
  spec.fill_is_missing = element == Element::f32;
  if (element != Element::f32) spec.fill = 0;
  return spec;
}

}  // namespace

CorpusTables::CorpusTables(PartFile& file, const CaptureHeader& header, const std::string& folder)
    : file_(file), header_(header), ids_(head_statistic_ids()) {
  file_.create_group("/corpus");
  file_.set_attribute("/corpus", "n_records_announced", header_.num_records);
  file_.set_attribute("/corpus", "n_records", std::int64_t{-1});
  file_.set_attribute("/corpus", "records_folder", folder);
  file_.set_attribute("/", "default", "corpus/head_stats");
  file_.create_dimension("/corpus/record", 0);
  file_.create_dimension("/corpus/statistic", ids_.size());
  file_.create_dimension("/corpus/rank", kLogitTop);
  for (const char* name : {"token", "text_byte", "piece_byte", "generated", "segment"})
    file_.create_dimension(std::string("/corpus/") + name, 0);
  for (const char* name : {"record_pointer", "token_pointer"})
    file_.create_dimension(std::string("/corpus/") + name, 1);
  define_index();
  define_texts();
  define_values();
  const std::size_t cells =
      header_.plan.layers.size() * static_cast<std::size_t>(header_.model.num_heads) * ids_.size();
  mean_.assign(cells, 0.0);
  m2_.assign(cells, 0.0);
  min_.assign(cells, kNan);
  max_.assign(cells, kNan);
  count_.assign(cells, 0);
}

void CorpusTables::define_index() {
  const hsize_t chunk = std::clamp<hsize_t>(extent(header_.num_records), 16, 1024);
  const auto column = [&](const char* name, Element element, const char* long_name) {
    file_.create_array(list(name, "record", element, long_name, chunk));
  };
  column("record_id", Element::text, "id of the record");
  column("source_line", Element::i64, "line of the input file, -1 = none");
  column("label", Element::i64, "label of the input, -1 = none");
  column("n_tokens", Element::i32, "prompt and generated tokens");
  column("n_prompt_tokens", Element::i32, "prompt tokens");
  column("n_rows", Element::i32, "rows recorded");
  column("first_key", Element::i32, "first token that is not padding");
  column("bos_present", Element::u8, "the first token is the tokenizer's BOS");
  column("status", Element::u8, "0 complete, 2 failed or interrupted");
  column("logit_entropy", Element::f32, "entropy of the next-token distribution after the prompt");
  for (const bool id : {true, false}) {
    ArraySpec spec = list(id ? "top_id" : "top_logprob", "record,rank", id ? Element::i32 : Element::f32,
                          id ? "most probable tokens after the prompt" : "their log-probabilities", chunk);
    spec.dims = {0, kLogitTop};
    spec.chunk = {chunk, kLogitTop};
    if (id) spec.fill = -1;
    file_.create_array(std::move(spec));
  }
  for (const char* name : {"text_offset", "token_offset", "generated_offset", "segment_offset"})
    file_.create_array(
        list(name, "record_pointer", Element::i64, "first entry of each record; one more at the end", chunk + 1, 1));
}

void CorpusTables::define_texts() {
  constexpr hsize_t kChunk = 16384;
  file_.create_array(list("text_utf8", "text_byte", Element::u8, "prompts, one after the other", 65536));
  file_.create_array(list("piece_utf8", "piece_byte", Element::u8, "token texts, one after the other", 65536));
  file_.create_array(list("piece_offset", "token_pointer", Element::i64, "first byte of each token's text", kChunk, 1));
  const std::pair<const char*, Element> columns[] = {
      {"token_id", Element::i32},       {"token_kind", Element::u8},        {"token_byte_begin", Element::i64},
      {"token_byte_end", Element::i64}, {"token_char_begin", Element::i64}, {"token_char_end", Element::i64},
      {"token_segment", Element::i16}};
  for (const auto& [name, element] : columns)
    file_.create_array(list(name, "token", element, fmt::format("{} of every token of every record", name), kChunk));
  file_.create_array(list("generated_logprob", "generated", Element::f32, "log-probability of generated tokens", 4096));
  file_.create_array(list("segment_name", "segment", Element::text, "segments of every record", 256));
  file_.create_array(list("segment_begin", "segment", Element::i32, "first token of the segment", 256));
  file_.create_array(list("segment_end", "segment", Element::i32, "token behind the segment", 256));
}

void CorpusTables::define_values() {
  const hsize_t layers = header_.plan.layers.size(), heads = extent(header_.model.num_heads), count = ids_.size();
  file_.create_texts("/corpus/statistic_name", "statistic", ids_, 48, "id of the statistic");
  ArraySpec values = list("head_stats", "record,layer,head,statistic", Element::f32, "value of every head", 1);
  values.dims = {0, layers, heads, count};
  values.chunk = {std::clamp<hsize_t>(extent(header_.num_records), 1, 64), layers, heads, 1};
  file_.create_array(std::move(values));
  const auto fixed = [&](const char* name, const char* axes, Element element, Sizes dims, const char* long_name) {
    ArraySpec spec;
    spec.path = std::string("/corpus/") + name;
    spec.axes = axes;
    spec.element = element;
    spec.dims = std::move(dims);
    spec.long_name = long_name;
    spec.fill_is_missing = element == Element::f32 || element == Element::f64;
    if (!spec.fill_is_missing) spec.fill = 0;
    file_.create_array(std::move(spec));
  };
  file_.create_group("/corpus/accum");
  for (const char* name : {"mean", "m2", "min", "max"})
    fixed((std::string("accum/") + name).c_str(), "layer,head,statistic", Element::f64, {layers, heads, count},
          "over records; m2 = sum of squared deviations");
  fixed("accum/n", "layer,head,statistic", Element::i64, {layers, heads, count}, "records that have a value");
  file_.create_group("/corpus/layers");
  for (ArraySpec& spec : layer_parameter_arrays("/corpus/layers", header_)) file_.create_array(std::move(spec));
}

void CorpusTables::append_tokens(const CorpusRecord& record) {
  const auto& tokens = record.header.tokens;
  std::vector<std::string> names;
  std::vector<std::int32_t> begin, end;
  for (const Segment& segment : record.header.segments) {
    names.push_back(segment.name);
    begin.push_back(static_cast<std::int32_t>(segment.begin));
    end.push_back(static_cast<std::int32_t>(segment.end));
  }
  if (done_ == 0) {
    const std::int64_t zero = 0;
    for (const char* name : {"text_offset", "token_offset", "generated_offset", "segment_offset"})
      array(name).write({0}, {1}, &zero);
  }
  const hsize_t first = extent(tokens_);
  tokens_ += static_cast<std::int64_t>(tokens.size());
  text_bytes_ += static_cast<std::int64_t>(record.header.text.size());
  generated_ += static_cast<std::int64_t>(record.generated_logprob.size());
  segments_ += static_cast<std::int64_t>(begin.size());
  file_.grow_scale("/corpus/token", extent(tokens_));
  file_.grow_scale("/corpus/token_pointer", extent(tokens_ + 1));
  file_.grow_scale("/corpus/text_byte", extent(text_bytes_));
  file_.grow_scale("/corpus/generated", extent(generated_));
  file_.grow_scale("/corpus/segment", extent(segments_));
  piece_bytes_ = write_tokens(file_, TokenColumns::of_corpus(), first, piece_bytes_, tokens);
  array("text_utf8").append(record.header.text.data(), record.header.text.size());
  array("generated_logprob").append(record.generated_logprob.data(), record.generated_logprob.size());
  array("segment_name").append(pack_texts(names, kIdText).data(), begin.size());
  array("segment_begin").append(begin.data(), begin.size());
  array("segment_end").append(end.data(), end.size());
  add("text_offset", text_bytes_);
  add("token_offset", tokens_);
  add("generated_offset", generated_);
  add("segment_offset", segments_);
}

void CorpusTables::append_values(const CorpusRecord& record) {
  const hsize_t r = extent(done_), layers = header_.plan.layers.size(), heads = extent(header_.model.num_heads);
  HEADLIGHT_CHECK(record.head_values_lhs.size() == mean_.size());
  ArrayWriter& values = array("head_stats");
  values.grow(0, r + 1);
  values.write({r, 0, 0, 0}, {1, layers, heads, ids_.size()}, record.head_values_lhs.data());
  ArrayWriter &top = array("top_id"), &logprob = array("top_logprob");
  top.grow(0, r + 1);
  logprob.grow(0, r + 1);
  const hsize_t kept = std::min<hsize_t>(record.top_id.size(), kLogitTop);
  if (kept > 0 && record.top_logprob.size() >= kept) {
    top.write({r, 0}, {1, kept}, record.top_id.data());
    logprob.write({r, 0}, {1, kept}, record.top_logprob.data());
  }
  add("logit_entropy", record.top_id.empty() ? std::numeric_limits<float>::quiet_NaN() : record.logit_entropy);
}

void CorpusTables::append(const CorpusRecord& record) {
  if (done_ == 0) write_layer_parameters(file_, "/corpus/layers", header_, record.header.layers);
  file_.grow_scale("/corpus/record", extent(done_ + 1));
  file_.grow_scale("/corpus/record_pointer", extent(done_ + 2));
  append_tokens(record);
  append_values(record);
  array("record_id").append(pack_texts({&record.header.record_id, 1}, kIdText).data(), 1);
  add("source_line", record.header.source_line);
  add("label", record.header.label);
  add("n_tokens", static_cast<std::int32_t>(record.header.tokens.size()));
  add("n_prompt_tokens", static_cast<std::int32_t>(record.header.num_prompt_tokens));
  add("n_rows", static_cast<std::int32_t>(record.num_rows));
  add("first_key", static_cast<std::int32_t>(record.header.first_key));
  add("bos_present", static_cast<std::uint8_t>(record.header.bos_present));
  add("status", record.status);
  add_moments(record.head_values_lhs);
  ++done_;
  file_.check_disk();
}

// Welford: mean and sum of squared deviations in one pass.
void CorpusTables::add_moments(const std::vector<float>& values) {
  for (std::size_t c = 0; c < values.size(); ++c) {
    const double value = static_cast<double>(values[c]);
    if (std::isnan(value)) continue;
    const double before = value - mean_[c];
    mean_[c] += before / static_cast<double>(++count_[c]);
    m2_[c] += before * (value - mean_[c]);
    min_[c] = std::fmin(min_[c], value);
    max_[c] = std::fmax(max_[c], value);
  }
}

void CorpusTables::write_moments() {
  const Sizes start{0, 0, 0}, all{header_.plan.layers.size(), extent(header_.model.num_heads), ids_.size()};
  std::vector<double> mean = mean_, m2 = m2_;
  for (std::size_t c = 0; c < mean.size(); ++c)
    if (count_[c] == 0) mean[c] = m2[c] = kNan;
  array("accum/mean").write(start, all, mean.data());
  array("accum/m2").write(start, all, m2.data());
  array("accum/min").write(start, all, min_.data());
  array("accum/max").write(start, all, max_.data());
  array("accum/n").write(start, all, count_.data());
  file_.check_disk();
}

void CorpusTables::seal() {
  file_.set_final("/corpus", "n_records", done_);
}

LiveProgress CorpusTables::progress() const {
  LiveProgress progress;
  progress.state = 1;
  progress.record = done_;
  progress.num_records = header_.num_records;
  progress.tokens = tokens_;
  return progress;
}

}  // namespace headlight::capture::hdf5

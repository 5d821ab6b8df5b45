#include "core/capture_hdf5/corpus_reader.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/capture/statistics.h"
#include "core/capture_hdf5/layer_parameters.h"
#include "core/capture_hdf5/layout.h"
#include "core/capture_hdf5/token_columns.h"

namespace headlight::capture::hdf5 {
namespace {

std::string path(std::string_view name) {
  return "/corpus/" + std::string(name);
}

}  // namespace

CorpusReader::CorpusReader(const StoredFile& file, const CaptureHeader& header) : file_(file), header_(header) {
  count_ = file_.integer("/corpus", "n_records");
  if (count_ < 0) count_ = file_.progress().record;
  if (count_ < 0 || count_ > static_cast<std::int64_t>(kMaxRecords))
    file_.refuse(Errc::damaged, "/corpus@n_records", fmt::format("expected 0..{}, found {}", kMaxRecords, count_));
  folder_ = file_.text("/corpus", "records_folder");
  ids_ = file_.texts(path("statistic_name"));
  const auto& values = file_.array(path("head_stats"), 4).dims;
  if (values[0] < extent(count_) || values[1] != header_.plan.layers.size() ||
      values[2] != extent(header_.model.num_heads) || values[3] != ids_.size())
    file_.refuse(Errc::damaged, path("head_stats"), "has dimensions that do not fit the model and the records");
  text_ = offsets("text_offset", "text_utf8");
  token_ = offsets("token_offset", "token_id");
  generated_ = offsets("generated_offset", "generated_logprob");
  segment_ = offsets("segment_offset", "segment_begin");
  layers_ = read_layer_parameters(file_, "/corpus/layers", header_);
}

std::vector<std::int64_t> CorpusReader::offsets(const char* name, const char* target) const {
  if (count_ == 0) return {0};
  auto values = file_.read_integers(path(name), extent(count_ + 1));
  const auto limit = static_cast<std::int64_t>(file_.array(path(target), 1).dims[0]);
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] < (i == 0 ? 0 : values[i - 1]) || values[i] > limit)
      file_.refuse(Errc::damaged, path(name),
                   fmt::format("expected ascending offsets up to {}, found {} at {}", limit, values[i], i));
  return values;
}

RecordInfo CorpusReader::record(std::int64_t r) const {
  const auto at = static_cast<std::size_t>(r);
  const auto one = [&](const char* name) { return file_.read_integers(path(name), extent(r), extent(r + 1)).front(); };
  RecordInfo info;
  RecordHeader& record = info.header;
  const StoredArray& ids = file_.array(path("record_id"), 1);
  if (*ids.element != Element::text || ids.element_bytes > 4096)
    file_.refuse(Errc::damaged, path("record_id"), "expected short texts");
  record.record_id.resize(ids.element_bytes);
  file_.read_stored(ids, {extent(r)}, {1}, reinterpret_cast<std::byte*>(record.record_id.data()));
  record.record_id.resize(std::min(record.record_id.find('\0'), record.record_id.size()));
  record.text = file_.bytes(path("text_utf8"), extent(text_[at]), extent(text_[at + 1]));
  record.source_line = one("source_line");
  record.label = one("label");
  record.num_prompt_tokens = one("n_prompt_tokens");
  record.first_key = one("first_key");
  record.bos_present = one("bos_present") != 0;
  record.layers = layers_;
  const auto begin = file_.read_integers(path("segment_begin"), extent(segment_[at]), extent(segment_[at + 1]));
  const auto end = file_.read_integers(path("segment_end"), extent(segment_[at]), extent(segment_[at + 1]));
  const StoredArray& names = file_.array(path("segment_name"), 1);
  for (std::size_t s = 0; s < begin.size(); ++s) {
    std::string name(names.element_bytes, '\0');
    file_.read_stored(names, {extent(segment_[at]) + s}, {1}, reinterpret_cast<std::byte*>(name.data()));
    name.resize(std::min(name.find('\0'), name.size()));
    record.segments.push_back({name, begin[s], end[s]});
  }
  record.tokens = read_tokens(file_, TokenColumns::of_corpus(), extent(token_[at]), extent(token_[at + 1]), record);
  info.num_rows = one("n_rows");
  record.num_rows = info.num_rows;
  info.num_generated = generated_[at + 1] - generated_[at];
  info.generated_logprob.resize(static_cast<std::size_t>(info.num_generated));
  file_.read_floats(file_.array(path("generated_logprob"), 1), {extent(generated_[at])}, {extent(info.num_generated)},
                    info.generated_logprob.data());
  const auto tokens = static_cast<std::int64_t>(record.tokens.size());
  if (info.num_rows < 0 || info.num_rows > tokens || record.num_prompt_tokens + info.num_generated != tokens ||
      record.first_key < 0 || record.first_key > tokens)
    file_.refuse(Errc::damaged, path("n_rows"), fmt::format("record {} has sizes that do not fit its tokens", r));
  return info;
}

Buffer<float> CorpusReader::head_statistic(std::int64_t r, std::string_view id) const {
  require_statistic(id);
  const auto found = std::find(ids_.begin(), ids_.end(), id);
  if (found == ids_.end()) throw Error(Errc::invalid_argument, fmt::format("'{}' has no value per head here", id));
  return file_.read_floats(path("head_stats"), {extent(r), 0, 0, static_cast<hsize_t>(found - ids_.begin())},
                           {1, header_.plan.layers.size(), extent(header_.model.num_heads), 1});
}

std::vector<std::string> CorpusReader::available_statistics(std::int64_t r) const {
  const Buffer<float> all =
      file_.read_floats(path("head_stats"), {extent(r), 0, 0, 0},
                        {1, header_.plan.layers.size(), extent(header_.model.num_heads), ids_.size()});
  std::vector<std::string> ids;
  for (std::size_t s = 0; s < ids_.size(); ++s)
    for (std::size_t c = s; c < all.size(); c += ids_.size())
      if (!std::isnan(all[c])) {
        ids.push_back(ids_[s]);
        break;
      }
  return ids;
}

std::int64_t CorpusReader::num_rows(std::int64_t r) const {
  return file_.read_integers(path("n_rows"), extent(r), extent(r + 1)).front();
}

std::int64_t CorpusReader::source_line(std::int64_t r) const {
  return file_.read_integers(path("source_line"), extent(r), extent(r + 1)).front();
}

CorpusReader::Sizes CorpusReader::sizes() const {
  return {extent(token_.back()), extent(text_.back()), extent(generated_.back()), extent(segment_.back())};
}

CorpusRecord CorpusReader::whole(std::int64_t r) const {
  CorpusRecord out;
  RecordInfo info = record(r);
  out.header = std::move(info.header);
  out.num_rows = info.num_rows;
  out.generated_logprob = std::move(info.generated_logprob);
  out.status = static_cast<std::uint8_t>(file_.read_integers(path("status"), extent(r), extent(r + 1)).front());
  const Buffer<float> values =
      file_.read_floats(path("head_stats"), {extent(r), 0, 0, 0},
                        {1, header_.plan.layers.size(), extent(header_.model.num_heads), ids_.size()});
  out.head_values_lhs.assign(values.begin(), values.end());
  const Buffer<float> entropy = file_.read_floats(path("logit_entropy"), {extent(r)}, {1});
  const hsize_t ranks = file_.array(path("top_id"), 2).dims[1];
  const Buffer<float> id = file_.read_floats(path("top_id"), {extent(r), 0}, {1, ranks});
  const Buffer<float> logprob = file_.read_floats(path("top_logprob"), {extent(r), 0}, {1, ranks});
  out.logit_entropy = entropy[0];
  for (hsize_t k = 0; k < ranks && id[k] >= 0.0f; ++k) {
    out.top_id.push_back(static_cast<std::int32_t>(id[k]));
    out.top_logprob.push_back(logprob[k]);
  }
  return out;
}

}  // namespace headlight::capture::hdf5

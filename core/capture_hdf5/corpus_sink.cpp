#include "core/capture_hdf5/corpus_sink.h"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>

#include "base/file.h"
#include "core/capture_hdf5/capture_header_io.h"
#include "core/capture_hdf5/manifest.h"

namespace headlight::capture::hdf5 {

std::string records_folder_name(const std::filesystem::path& path) {
  return path.stem().string() + ".d";
}

void prepare_records_folder(const std::filesystem::path& folder, bool overwrite) {
  std::error_code error;
  if (std::filesystem::exists(folder, error)) {
    if (!overwrite && !std::filesystem::is_empty(folder, error))
      throw Error(Errc::output_exists, "exists already and is not empty",
                  {.file = folder.string(), .field = {}, .offset = {}, .hint = "use --force to overwrite"});
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string stem = entry.path().stem().string();
      const bool is_record = entry.path().extension() == ".h5" && !stem.empty() &&
                             std::all_of(stem.begin(), stem.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (is_record) std::filesystem::remove(entry.path(), error);
    }
  }
  std::filesystem::create_directory(folder, error);
  if (error) throw_io_error(error.value(), folder, "creating the folder");
}

std::vector<float> stacked_head_values(const HeadMeans& means, std::size_t layers, std::size_t heads) {
  const auto ids = head_statistic_ids();
  std::vector<float> out(layers * heads * ids.size());
  for (std::size_t s = 0; s < ids.size(); ++s) {
    const std::vector<float> values = means.values(ids[s]);
    for (std::size_t c = 0; c < values.size(); ++c) out[c * ids.size() + s] = values[c];
  }
  return out;
}

CorpusSink::CorpusSink(std::filesystem::path path, const CaptureWriterOptions& options)
    : path_(std::move(path)), options_(options) {
  check_output_path(path_, options_.overwrite);
}

template <class Work>
void CorpusSink::guarded(const Work& work) {
  const auto close = [&] {
    single_.reset();
    tables_.reset();
  };
  latch_.guard(file_, close, work);
}

void CorpusSink::begin(const CaptureHeader& header) {
  HEADLIGHT_CHECK(!file_);
  header_ = header;
  guarded([&] {
    if (!options_.stacked_corpus) {
      folder_ = records_folder_name(path_);
      if (options_.overwrite)
        std::filesystem::remove(path_);  // its records go now: nothing dead may be left looking whole
      prepare_records_folder(path_.parent_path() / folder_, options_.overwrite);
    }
    file_ = std::make_unique<PartFile>(path_, options_.overwrite, options_.compression_threads, options_.reproducible);
    define_header(*file_, header_, fmt::format("attention captures of {}", header_.model.name));
    tables_ = std::make_unique<CorpusTables>(*file_, header_, folder_);
    if (!folder_.empty()) {
      file_->create_group("/rec");
      for (std::int64_t r = 0; r < header_.num_records; ++r)
        file_->create_external_link(fmt::format("/rec/{}", r), fmt::format("{}/{}.h5", folder_, r), "/rec/0");
    }
    file_->start_append();
    file_->flush(tables_->progress());
  });
}

void CorpusSink::begin_record(const RecordHeader& record) {
  HEADLIGHT_CHECK(file_ && !record_);
  guarded([&] {
    record_ = std::make_unique<CorpusRecord>();
    record_->header = record;
    layer_rows_.assign(record.layers.size(), 0);
    if (folder_.empty()) {
      means_ = std::make_unique<HeadMeans>(header_, record_->header);
      return;
    }
    CaptureWriterOptions options = options_;
    options.overwrite = true;  // the folder was prepared
    const auto name = fmt::format("{}.h5", tables_->num_records());
    single_ = std::make_unique<SingleSink>(path_.parent_path() / folder_ / name, options);
    single_->begin(header_);
    single_->begin_record(record);
  });
}

void CorpusSink::write_rows(const LayerRows& rows) {
  guarded([&] {
    if (single_) single_->write_rows(rows);
    if (rows.base) return;
    if (means_) means_->add_rows(rows);
    std::int64_t& there = layer_rows_[static_cast<std::size_t>(rows.index)];
    if (rows.row_begin <= there) there = std::max(there, rows.row_begin + rows.num_rows);
  });
}

void CorpusSink::write_row_plan(int index, const RowPlan& plan) {
  guarded([&] {
    if (single_) single_->write_row_plan(index, plan);
  });
}

void CorpusSink::write_columns(const LayerColumns& columns) {
  guarded([&] {
    if (means_ && !columns.base) means_->set_columns(columns);
    if (single_) single_->write_columns(columns);
  });
}

void CorpusSink::write_dense(const DenseRows& rows) {
  guarded([&] {
    if (single_) single_->write_dense(rows);
  });
}
void CorpusSink::write_topk(std::span<const TopkRow> rows) {
  guarded([&] {
    if (single_) single_->write_topk(rows);
  });
}
void CorpusSink::write_hidden(const HiddenRows& rows) {
  guarded([&] {
    if (single_) single_->write_hidden(rows);
  });
}
void CorpusSink::write_massive(std::span<const MassiveActivation> entries) {
  guarded([&] {
    if (single_) single_->write_massive(entries);
  });
}

void CorpusSink::write_logits(const LogitRows& rows) {
  guarded([&] {
    if (single_) single_->write_logits(rows);
    const std::int64_t last = record_->header.num_prompt_tokens - 1;
    if (last < rows.row_begin || last >= rows.row_begin + rows.num_rows) return;
    const std::ptrdiff_t at = last - rows.row_begin;
    const auto kept = static_cast<std::size_t>(std::min(rows.k, kLogitTop));
    if (rows.top_id != nullptr && rows.top_logprob != nullptr) {
      record_->top_id.assign(rows.top_id + at * rows.k, rows.top_id + at * rows.k + kept);
      record_->top_logprob.assign(rows.top_logprob + at * rows.k, rows.top_logprob + at * rows.k + kept);
    }
    if (rows.entropy != nullptr) record_->logit_entropy = rows.entropy[at];
  });
}

void CorpusSink::append_generated(const TokenInfo& token, float logprob) {
  guarded([&] {
    record_->header.tokens.push_back(token);
    record_->generated_logprob.push_back(logprob);
    if (single_) single_->append_generated(token, logprob);
  });
}

void CorpusSink::end_record(std::int64_t rows_done, const std::vector<std::pair<std::string, double>>& timing) {
  if (latch_.failed() || !record_) return;
  guarded([&] {
    const std::int64_t there = layer_rows_.empty() ? 0 : *std::min_element(layer_rows_.begin(), layer_rows_.end());
    const bool whole = rows_done > 0 && there >= rows_done;
    const auto layers = header_.plan.layers.size(), heads = static_cast<std::size_t>(header_.model.num_heads);
    record_->num_rows = whole ? rows_done : std::min(rows_done, there);
    record_->status = whole ? 0 : 2;
    if (single_) {
      single_->end_record(rows_done, timing);
      record_->num_rows = single_->record()->rows_done();
      record_->head_values_lhs = stacked_head_values(single_->record()->head_means(), layers, heads);
      single_->finish(whole);
    } else {
      record_->head_values_lhs = stacked_head_values(*means_, layers, heads);
    }
    tables_->append(*record_);
    single_.reset();
    means_.reset();
    record_.reset();
    file_->flush(tables_->progress());
  });
}

void CorpusSink::flush() {
  guarded([&] {
    if (single_) single_->flush();
  });
}

void CorpusSink::finish(bool complete) {
  if (latch_.failed() || !file_) return;
  guarded([&] {
    if (record_) end_record(0, {});
    tables_->write_moments();
    file_->add_journal(4, tables_->num_records(), complete ? 1 : 2);
    LiveProgress progress = tables_->progress();
    progress.state = 2;
    file_->flush(progress);
    write_manifest(*file_);
    file_->flush(progress);
    file_->begin_seal();
    tables_->seal();
    seal_header(*file_, complete);
    if (!folder_.empty())  // announced records that never came
      for (std::int64_t r = tables_->num_records(); r < header_.num_records; ++r)
        file_->remove_link(fmt::format("/rec/{}", r));
    file_->commit();
  });
}

}  // namespace headlight::capture::hdf5

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/file.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/capture_header_io.h"
#include "core/capture_hdf5/capture_reader.h"
#include "core/capture_hdf5/corpus_sink.h"
#include "core/capture_hdf5/manifest.h"

namespace headlight::capture {
namespace hdf5 {
namespace {

/// One record of one input.
struct Source {
  const FileCapture* capture;
  std::int64_t record;
  std::int64_t line;
};

void check_same(const FileCapture& first, const FileCapture& other) {
  const CaptureHeader &a = first.header(), &b = other.header();
  const auto refuse = [&](const std::string& what) {
    throw Error(Errc::invalid_argument, fmt::format("cannot be merged with '{}': {} differs", first.name(), what),
                {.file = other.name(), .field = {}, .offset = {}, .hint = "merge captures of one model and one plan"});
  };
  if (a.model.name != b.model.name || a.model.num_layers != b.model.num_layers ||
      a.model.num_heads != b.model.num_heads || a.model.num_kv_heads != b.model.num_kv_heads ||
      a.model.head_dim != b.model.head_dim || a.model.file_sha256 != b.model.file_sha256 ||
      a.model.tokenizer_sha256 != b.model.tokenizer_sha256)
    refuse("the model");
  if (to_json_text(a.plan) != to_json_text(b.plan)) refuse("the plan of what is recorded");
}

/// File of a record, empty when it is only a row of a stacked corpus.
std::filesystem::path record_file(const Source& source) {
  const StoredFile& file = source.capture->file();
  if (source.capture->corpus() == nullptr) return file.path();
  const auto link = file.external_records().find(fmt::format("/rec/{}", source.record));
  return link == file.external_records().end() ? std::filesystem::path() : file.path().parent_path() / link->second;
}

CorpusRecord read_whole(const Source& source) {
  if (source.capture->corpus() != nullptr) return source.capture->corpus()->whole(source.record);
  CorpusRecord out;
  RecordInfo info = source.capture->record(0);
  const auto ids = head_statistic_ids();
  const auto available = source.capture->available_statistics(0);
  const auto cells = static_cast<std::size_t>(source.capture->header().model.num_heads) * info.header.layers.size();
  out.head_values_lhs.assign(cells * ids.size(), std::numeric_limits<float>::quiet_NaN());
  for (std::size_t s = 0; s < ids.size(); ++s) {
    if (std::find(available.begin(), available.end(), ids[s]) == available.end()) continue;
    const Buffer<float> values = source.capture->head_statistic(0, ids[s]);
    for (std::size_t c = 0; c < cells; ++c) out.head_values_lhs[c * ids.size() + s] = values[c];
  }
  source.capture->read_last_top(out.top_id, out.top_logprob, out.logit_entropy);
  out.num_rows = info.num_rows;
  out.generated_logprob = std::move(info.generated_logprob);
  out.status = source.capture->complete() == CompleteState::sealed ? 0 : 2;
  out.header = std::move(info.header);
  return out;
}

std::vector<Source> sorted_sources(const std::vector<std::unique_ptr<FileCapture>>& captures) {
  std::vector<Source> sources;
  for (const auto& capture : captures)
    for (std::int64_t r = 0; r < capture->num_records(); ++r)
      sources.push_back({capture.get(), r, capture->source_line(r)});
  std::stable_sort(sources.begin(), sources.end(), [](const Source& a, const Source& b) { return a.line < b.line; });
  for (std::size_t i = 1; i < sources.size(); ++i)
    if (sources[i].line >= 0 && sources[i].line == sources[i - 1].line)
      throw Error(
          Errc::invalid_argument,
          fmt::format("line {} of the batch is in '{}' as well", sources[i].line, sources[i - 1].capture->name()),
          {.file = sources[i].capture->name(), .field = {}, .offset = {}, .hint = "name every part once"});
  return sources;
}

void copy_record_files(const std::vector<Source>& sources, const std::filesystem::path& folder, bool overwrite) {
  for (const Source& source : sources) {
    std::error_code error;
    if (std::filesystem::equivalent(folder, record_file(source).parent_path(), error))
      throw Error(Errc::invalid_argument, fmt::format("holds the records of '{}'", source.capture->name()),
                  {.file = folder.string(), .field = {}, .offset = {}, .hint = "choose another output"});
  }
  prepare_records_folder(folder, overwrite);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    std::error_code error;
    const auto to = folder / fmt::format("{}.h5", i);
    if (!std::filesystem::copy_file(record_file(sources[i]), to, error))
      throw_io_error(error.value(), to, "copying a record");
  }
}

}  // namespace
}  // namespace hdf5

void merge_captures(const std::vector<std::filesystem::path>& inputs, const std::filesystem::path& output,
                    bool overwrite) {
  using namespace hdf5;
  if (inputs.empty()) throw Error(Errc::invalid_argument, "there is nothing to merge");
  check_output_path(output, overwrite);
  std::vector<std::unique_ptr<FileCapture>> captures;
  bool complete = true;
  for (const auto& input : inputs) {
    std::error_code error;
    if (std::filesystem::equivalent(input, output, error))
      throw Error(Errc::invalid_argument, "is an input and the output",
                  {.file = output.string(), .field = {}, .offset = {}, .hint = "choose another output"});
    captures.push_back(std::make_unique<FileCapture>(input));
    if (captures.back()->complete() == CompleteState::writing)
      throw Error(Errc::damaged, "is unfinished: it is being written, or its writer ended early",
                  {.file = input.string(), .field = {}, .offset = {}, .hint = "headlight recover it first"});
    complete = complete && captures.back()->complete() == CompleteState::sealed;
    check_same(*captures.front(), *captures.back());
  }
  const std::vector<Source> sources = sorted_sources(captures);
  const bool with_files =
      std::all_of(sources.begin(), sources.end(), [](const Source& s) { return !record_file(s).empty(); });
  const std::string folder = with_files ? records_folder_name(output) : "";
  if (with_files) copy_record_files(sources, output.parent_path() / folder, overwrite);

  CaptureHeader header = captures.front()->header();
  header.num_records = static_cast<std::int64_t>(sources.size());
  PartFile file(output, overwrite, 1, false);
  define_header(file, header, fmt::format("attention captures of {}", header.model.name));
  CorpusTables tables(file, header, folder);
  if (with_files) {
    file.create_group("/rec");
    for (std::size_t i = 0; i < sources.size(); ++i)
      file.create_external_link(fmt::format("/rec/{}", i), fmt::format("{}/{}.h5", folder, i), "/rec/0");
  }
  file.start_append();
  for (const Source& source : sources) tables.append(read_whole(source));
  tables.write_moments();
  file.add_journal(4, tables.num_records(), complete ? 1 : 2);
  file.flush(tables.progress());
  write_manifest(file);
  file.flush(tables.progress());
  file.begin_seal();
  tables.seal();
  seal_header(file, complete);
  file.commit();
}

}  // namespace headlight::capture

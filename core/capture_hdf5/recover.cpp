#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "core/capture/derive.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/capture_header_io.h"
#include "core/capture_hdf5/corpus_reader.h"
#include "core/capture_hdf5/corpus_sink.h"
#include "core/capture_hdf5/edit_file.h"
#include "core/capture_hdf5/guard.h"
#include "core/capture_hdf5/manifest.h"
#include "core/capture_hdf5/record_reader.h"
#include "core/capture_hdf5/stored_file.h"

namespace headlight::capture {
namespace hdf5 {
namespace {

/// Held while a part file is copied: its writer holds a shared one.
class ExclusiveLock {
 public:
  explicit ExclusiveLock(const std::filesystem::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(std::exchange(fd_, -1));
      throw Error(Errc::busy, "is still being written or read by another process",
                  {.file = path.string(), .field = {}, .offset = {}, .hint = "wait until that process has ended"});
    }
  }
  ExclusiveLock(const ExclusiveLock&) = delete;
  ExclusiveLock& operator=(const ExclusiveLock&) = delete;
  ~ExclusiveLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  int fd_;
};

/// A copy that disappears unless it is published.
class TemporaryCopy {
 public:
  TemporaryCopy(const std::filesystem::path& from, const std::filesystem::path& output) : path_(part_path(output)) {
    std::error_code error;
    if (!std::filesystem::copy_file(from, path_, error)) {
      std::filesystem::remove(path_);
      throw_io_error(error.value(), path_, "copying the part file");
    }
    std::filesystem::permissions(path_, std::filesystem::perms::owner_write, std::filesystem::perm_options::add, error);
  }
  TemporaryCopy(const TemporaryCopy&) = delete;
  TemporaryCopy& operator=(const TemporaryCopy&) = delete;
  ~TemporaryCopy() { ::unlink(path_.c_str()); }

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// What is to be done to the copy, decided while it is open for reading.
struct Repair {
  struct Cut {
    std::string path;
    int axis;
    hsize_t size;
  };
  std::vector<Cut> cuts;
  std::vector<std::string> unreadable;  // removed, as what counts only some of the rows
  RecoverReport report;
  std::int64_t rows = 0, generated = 0, records = 0;
  std::string folder;                       // of a corpus' records
  Sizes visible_dims;                       // of col/visible_count
  std::vector<std::int32_t> visible_count;  // recomputed
};

std::vector<std::string> axes_of(const StoredFile& file, const std::string& path) {
  // Scales have no axes of their own; their name is the axis.
  if (!file.has_attribute(path, "axes")) return {path.substr(path.rfind('/') + 1)};
  std::vector<std::string> axes;
  std::string text = file.text(path, "axes");
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    axes.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return axes;
}

void cut_axes(const StoredFile& file, const std::string& group, const std::map<std::string, hsize_t>& sizes,
              Repair& repair) {
  for (const auto& [path, array] : file.arrays()) {
    if (!path.starts_with(group) || array.chunk.empty()) continue;
    const auto axes = axes_of(file, path);
    for (std::size_t a = 0; a < std::min(axes.size(), array.dims.size()); ++a) {
      const auto wanted = sizes.find(axes[a]);
      if (wanted != sizes.end() && array.dims[a] > wanted->second)
        repair.cuts.push_back({path, static_cast<int>(a), wanted->second});
    }
  }
}

void find_unreadable(const StoredFile& file, Repair& repair) {
  for (const auto& [path, array] : file.arrays()) {
    if (array.foreign_filters) continue;
    try {
      file.check_chunks(array);
    } catch (const Error& error) {
      if (error.code() != Errc::damaged && error.code() != Errc::changed) throw;
      repair.unreadable.push_back(path);
      repair.report.losses.push_back(fmt::format("{}: {}", path, error.message()));
    }
  }
}

void plan_record(const StoredFile& file, const CaptureHeader& header, const LiveProgress& progress, Repair& repair) {
  const RecordReader reader(file, header);
  const RecordInfo& info = reader.info();
  repair.rows = info.num_rows;
  repair.generated = info.num_generated;
  repair.report.num_records = 1;
  repair.report.rows_recovered = info.num_rows;
  if (info.num_rows == 0)
    file.refuse(Errc::damaged, "/live/progress", "holds nothing to recover: no layer was complete when it ended");
  const auto size = [](std::int64_t n) { return static_cast<hsize_t>(n); };
  const std::int64_t tokens = info.header.num_prompt_tokens + info.num_generated;
  cut_axes(file, "/rec/0/",
           {{"query", size(info.num_rows)},
            {"key", size(info.num_rows)},
            {"replay_query", size(info.replay_row_end - info.replay_row_begin)},
            {"token", size(tokens)},
            {"token_pointer", size(tokens + 1)},
            {"step", size(info.num_generated)},
            {"topk_row", size(progress.topk_rows)},
            {"topk_pointer", size(progress.topk_rows + 1)},
            {"topk_entry", size(progress.topk_entries)},
            {"massive_entry", size(progress.massive)}},
           repair);
  if (progress.layers_done < static_cast<std::int64_t>(header.plan.layers.size()))
    repair.report.losses.push_back(fmt::format("{} of {} layers were not reached",
                                               header.plan.layers.size() - size(progress.layers_done),
                                               header.plan.layers.size()));
  if (info.num_rows < info.header.num_rows)
    repair.report.losses.push_back(
        fmt::format("{} of {} announced rows", info.header.num_rows - info.num_rows, info.header.num_rows));
  const auto drop = [&](bool is_there, const char* first, const char* second, const char* what) {
    if (is_there || (!file.has(first) && !file.has(second))) return;
    for (const char* path : {first, second})
      if (file.has(path)) repair.unreadable.emplace_back(path);
    repair.report.losses.push_back(fmt::format("{}: they did not count the generated rows yet", what));
  };
  drop(info.has_columns, "/rec/0/col/received", "/rec/0/col/received_tail", "sums of the columns");
  drop(info.has_columns, "/rec/0/col/received_base", "/rec/0/col/received_tail_base",
       "sums of the columns without interventions");
  drop(info.has_overview, "/rec/0/map/block_sum", "/rec/0/map/block_max", "block maps");
  repair.visible_dims = {header.plan.layers.size(), size(info.num_rows)};
  for (int l = 0; l < static_cast<int>(header.plan.layers.size()); ++l)
    for (std::int64_t j = 0; j < info.num_rows; ++j)
      repair.visible_count.push_back(static_cast<std::int32_t>(layer_geometry(info, l).visible_rows(j)));
}

void plan_corpus(const StoredFile& file, const CaptureHeader& header, Repair& repair) {
  const CorpusReader reader(file, header);
  repair.records = reader.num_records();
  repair.folder = reader.records_folder();
  repair.report.num_records = repair.records;
  if (repair.records == 0)
    file.refuse(Errc::damaged, "/live/progress", "holds nothing to recover: no record was complete when it ended");
  for (std::int64_t r = 0; r < repair.records; ++r) repair.report.rows_recovered += reader.num_rows(r);
  const CorpusReader::Sizes sizes = reader.sizes();
  cut_axes(file, "/corpus/",
           {{"record", static_cast<hsize_t>(repair.records)},
            {"record_pointer", static_cast<hsize_t>(repair.records + 1)},
            {"token", sizes.tokens},
            {"token_pointer", sizes.tokens + 1},
            {"text_byte", sizes.text_bytes},
            {"generated", sizes.generated},
            {"segment", sizes.segments}},
           repair);
  if (repair.records < header.num_records)
    repair.report.losses.push_back(
        fmt::format("{} of {} records", header.num_records - repair.records, header.num_records));
}

Repair plan_repair(const std::filesystem::path& copy) {
  const GuardedTimeLimit limit;
  const StoredFile file(copy);
  const CaptureHeader header = read_header(file);
  Repair repair;
  find_unreadable(file, repair);
  if (file.has_group("/corpus"))
    plan_corpus(file, header, repair);
  else
    plan_record(file, header, file.progress(), repair);
  return repair;
}

/// Record files of a corpus beside the new master.
void copy_records(const std::filesystem::path& part, const std::filesystem::path& output, Repair& repair,
                  bool overwrite) {
  const auto from = part.parent_path() / repair.folder;
  const std::string name = records_folder_name(output);
  const auto to = output.parent_path() / name;
  std::error_code error;
  if (std::filesystem::equivalent(from, to, error)) return;
  prepare_records_folder(to, overwrite);
  for (std::int64_t r = 0; r < repair.records; ++r) {
    const std::string file = fmt::format("{}.h5", r);
    std::filesystem::copy_file(from / file, to / file, std::filesystem::copy_options::overwrite_existing, error);
    if (error) repair.report.losses.push_back(fmt::format("record {}: {}", r, error.message()));
  }
}

void apply(const Repair& repair, const std::filesystem::path& copy, const std::filesystem::path& output,
           const CaptureHeader& header) {
  EditFile edit(copy);
  for (const std::string& path : repair.unreadable) edit.remove(path);
  const auto is_lost = [&](const std::string& path) {
    return std::find(repair.unreadable.begin(), repair.unreadable.end(), path) != repair.unreadable.end();
  };
  for (const Repair::Cut& cut : repair.cuts)
    if (!is_lost(cut.path)) edit.shorten(cut.path, cut.axis, cut.size);
  if (repair.records > 0) {
    edit.set_attribute("/corpus", "n_records", repair.records);
    if (!repair.folder.empty()) {
      const std::string folder = records_folder_name(output);
      edit.set_text("/corpus", "records_folder", folder);
      for (std::int64_t r = 0; r < header.num_records; ++r) {
        edit.remove(fmt::format("/rec/{}", r));
        if (r < repair.records) edit.link(fmt::format("/rec/{}", r), fmt::format("{}/{}.h5", folder, r), "/rec/0");
      }
    }
  } else {
    edit.set_attribute("/rec/0", "n_rows", repair.rows);
    edit.set_attribute("/rec/0", "n_generated", repair.generated);
    if (!is_lost("/rec/0/col/visible_count"))
      edit.write("/rec/0/col/visible_count", repair.visible_dims, repair.visible_count.data());
  }
  edit.set_attribute("/", "complete", 2);
  edit.close();
}

void rewrite_manifest(const std::filesystem::path& copy) {
  ManifestColumns columns;
  {
    const StoredFile file(copy);
    columns = sum_stored_file(file);
  }
  EditFile edit(copy);
  const Sizes dims{columns.paths.size()};
  edit.write("/manifest/path", dims, columns.packed_paths().data());
  edit.write("/manifest/bytes", dims, columns.bytes.data());
  edit.write("/manifest/crc32", dims, columns.crc32.data());
  edit.close();
}

CaptureHeader header_of(const std::filesystem::path& copy) {
  const StoredFile file(copy);
  return read_header(file);
}

}  // namespace
}  // namespace hdf5

RecoverReport recover_capture(const std::filesystem::path& part, const std::filesystem::path& output, bool overwrite) {
  using namespace hdf5;
  const Superblock superblock = read_superblock(part);
  check_output_path(output, overwrite);
  const ExclusiveLock lock(part);
  const TemporaryCopy copy(part, output);
  close_superblock(copy.path(), superblock);
  Repair repair;
  try {
    repair = plan_repair(copy.path());
    if (!repair.folder.empty()) copy_records(part, output, repair, overwrite);
    apply(repair, copy.path(), output, header_of(copy.path()));
    rewrite_manifest(copy.path());
  } catch (const Error& error) {
    if (error.context().file != copy.path().string()) throw;
    ErrorContext context = error.context();
    context.file = part.string();  // not the name of a copy that is gone
    throw Error(error.code(), error.message(), context);
  }
  publish(copy.path(), output, overwrite);
  return repair.report;
}

}  // namespace headlight::capture

#include "tests/capture_hdf5/hostile_support.h"

#include <fstream>
#include <iterator>
#include <stdexcept>

#include "base/error.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/capture_file.h"

namespace headlight::capture {
namespace {

testing_support::SyntheticRun small_run() {
  testing_support::SyntheticRun run;
  run.num_layers = 2;
  run.layers = {1};
  run.num_heads = 2;
  run.num_kv_heads = 1;
  run.prompt_tokens = 9;
  run.level = CaptureLevel::maps;
  return run;
}

void must(long long status, const char* what) {
  if (status < 0) throw std::runtime_error(std::string("the test cannot ") + what);
}

}  // namespace

Golden::Golden() : Golden(small_run()) {}

Golden::Golden(const testing_support::SyntheticRun& run) : path_(folder_ / "golden.h5") {
  CaptureWriterOptions options;
  options.reproducible = true;
  run.write(*create_capture(path_, options));
}

void Golden::edit(const std::function<void(hid_t file)>& change) const {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  must(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), "choose the format");
  const hid_t file = H5Fopen(path_.c_str(), H5F_ACC_RDWR, access);
  must(file, "open the file");
  change(file);
  must(H5Fclose(file), "close the file");
  H5Pclose(access);
}

void Golden::patch(std::uint64_t offset, const std::string& bytes) const {
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string Golden::bytes() const {
  std::ifstream in(path_, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void Golden::write_bytes(const std::string& bytes) const {
  std::ofstream out(path_, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

void replace_dataset(hid_t file, const char* path, hid_t type, const std::vector<hsize_t>& dims,
                     const std::function<void(hid_t creation)>& configure) {
  if (H5Lexists(file, path, H5P_DEFAULT) > 0) must(H5Ldelete(file, path, H5P_DEFAULT), "remove a dataset");
  const hid_t space = H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  if (configure) configure(creation);
  const hid_t dataset = H5Dcreate2(file, path, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  must(dataset, "create a dataset");
  H5Dclose(dataset);
  H5Pclose(creation);
  H5Sclose(space);
}

void set_element(hid_t file, const char* path, std::vector<hsize_t> at, double value) {
  const hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
  must(dataset, "open a dataset");
  const hid_t space = H5Dget_space(dataset), one = H5Screate(H5S_SCALAR);
  must(H5Sselect_elements(space, H5S_SELECT_SET, 1, at.data()), "select an element");
  must(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, one, space, H5P_DEFAULT, &value), "write an element");
  H5Sclose(one);
  H5Sclose(space);
  H5Dclose(dataset);
}

void set_number(hid_t file, const char* object, const char* name, std::int64_t value) {
  const hid_t old = H5Aopen_by_name(file, object, name, H5P_DEFAULT, H5P_DEFAULT);
  must(old, "open an attribute");
  const hid_t type = H5Aget_type(old), space = H5Aget_space(old);
  H5Aclose(old);
  // HDF5 1.10 opens attributes of these files but cannot overwrite them: a new one takes the place.
  must(H5Adelete_by_name(file, object, name, H5P_DEFAULT), "remove an attribute");
  const hid_t fresh = H5Acreate_by_name(file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  must(fresh, "create an attribute");
  must(H5Awrite(fresh, H5T_NATIVE_INT64, &value), "write an attribute");
  H5Aclose(fresh);
  H5Sclose(space);
  H5Tclose(type);
}

void read_everything(const std::filesystem::path& path) {
  const auto view = open_capture(path, {.allow_incomplete = true, .check_manifest = false});
  const auto& header = view->header();
  const auto attempt = [](const auto& read) {
    try {
      read();
    } catch (const Error& error) {  // what is not recorded is no defect
      if (error.code() != Errc::invalid_argument) throw;
    }
  };
  for (std::int64_t r = 0; r < std::min<std::int64_t>(view->num_records(), 4); ++r) {
    const RecordInfo info = view->record(r);
    for (const StatisticInfo& statistic : statistics()) attempt([&] { view->head_statistic(r, statistic.id); });
    for (const char* id : {"norm_l2", "absmax", "mean", "rms", "cos_first", "key_norm", "value_norm", "u_norm"})
      attempt([&] { view->hidden(r, id); });
    attempt([&] { view->last_logits(r); });
    const auto dim = static_cast<std::size_t>(header.model.head_dim);
    for (int l = 0; l < static_cast<int>(header.plan.layers.size()); ++l) {
      for (const std::string& id : view->available_statistics(r)) attempt([&] { view->statistic(r, id, l); });
      for (int h = 0; h < header.model.num_heads; ++h) {
        std::vector<float> values(static_cast<std::size_t>(info.num_rows) * dim);
        attempt([&] { view->read_q(r, l, h, info.replay_row_begin, info.replay_row_end, values.data()); });
        attempt([&] { view->read_k(r, l, h / 2, 0, info.num_rows, values.data()); });
        attempt([&] { view->read_v(r, l, h / 2, 0, info.num_rows, values.data()); });
        attempt([&] { view->block_sum(r, l, h); });
        attempt([&] { view->block_max(r, l, h); });
        attempt([&] { view->dense(r, l, h); });
        attempt([&] { view->topk(r, l, h); });
      }
    }
  }
}

}  // namespace headlight::capture

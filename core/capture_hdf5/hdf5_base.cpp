#include "core/capture_hdf5/hdf5_base.h"

#include <cstdlib>

#include <fmt/format.h>

#include "core/capture_hdf5/capture_file.h"

namespace headlight::capture::hdf5 {
namespace {

std::recursive_mutex& gate_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

void prepare_library() {
  H5dont_atexit();
  unsigned major = 0, minor = 0, release = 0;
  // Before H5open(): with two different libraries in one process, opening would abort it.
  if (H5get_libversion(&major, &minor, &release) < 0 || major != H5_VERS_MAJOR || minor != H5_VERS_MINOR)
    throw Error(Errc::internal, fmt::format("the HDF5 library in this process is {}.{}.{}, built for {}.{}.{}", major,
                                            minor, release, H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE));
  if (H5open() < 0) throw Error(Errc::internal, "the HDF5 library cannot be initialised");
  H5PLset_loading_state(0);  // filter plugins are shared objects: code that a file would choose
}

herr_t collect(unsigned, const H5E_error2_t* entry, void* text) {
  auto& out = *static_cast<std::string*>(text);
  if (entry->desc != nullptr && *entry->desc != '\0') out += (out.empty() ? "" : ": ") + std::string(entry->desc);
  return 0;
}

}  // namespace

Gate::Gate() : lock_(gate_mutex()) {
  static const bool prepared = (prepare_library(), true);
  static_cast<void>(prepared);
  thread_local bool silenced = false;
  if (!silenced) silenced = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
}

std::string error_stack() {
  const Gate gate;
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, collect, &text);
  H5Eclear2(H5E_DEFAULT);
  // Deep stacks repeat themselves; the last reasons are the ones that tell.
  constexpr std::size_t kLongest = 300;
  if (text.size() > kLongest) text = "..." + text.substr(text.size() - kLongest);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) c = '?';
  return text.empty() ? "no reason given" : text;
}

void throw_library_error(Errc code, const std::string& file, const std::string& operation) {
  throw Error(code, fmt::format("{} failed: {}", operation, error_stack()),
              {.file = file, .field = {}, .offset = {}, .hint = {}});
}

Handle own(hid_t id, Handle::Close close, Errc code, const std::string& file, const std::string& operation) {
  if (id < 0) throw_library_error(code, file, operation);
  return Handle(id, close);
}

Handle make_access_list() {
  Handle list = own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, Errc::internal, "", "preparing file access");
  // Superblock 3 is what single-writer-multiple-reader needs; never "latest", so that old readers keep working.
  bool ok = H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0;
  ok = ok && H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) >= 0;
  ok = ok && H5Pset_cache(list, 0, 1, 0, 0.0) >= 0;  // no chunk cache: whole chunks are written and read directly
  if (std::getenv("HDF5_USE_FILE_LOCKING") == nullptr) ok = ok && H5Pset_file_locking(list, true, true) >= 0;
  if (!ok) throw_library_error(Errc::internal, "", "preparing file access");
  return list;
}

}  // namespace headlight::capture::hdf5

namespace headlight::capture {

std::string hdf5_library_version() {
  const hdf5::Gate gate;
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace headlight::capture

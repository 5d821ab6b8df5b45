#pragma once

#include <mutex>
#include <string>
#include <utility>

#include <hdf5.h>

#include "base/error.h"

namespace headlight::capture::hdf5 {

/// Held during every call into the library: its own thread safety is one global lock in some builds and absent in
/// others. The first Gate prepares the library (no messages on stderr, no exit handler, no filter plugins); every
/// thread's first Gate silences that thread's error stack.
/// @error internal  the library that was loaded is not the one of the headers
class Gate {
 public:
  Gate();

 private:
  std::unique_lock<std::recursive_mutex> lock_;
};

/// Owner of a library id.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);

  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() { reset(); }

  hid_t get() const { return id_; }
  operator hid_t() const { return id_; }
  bool is_open() const { return id_ >= 0; }
  void reset() {
    if (id_ < 0) return;
    const Gate gate;
    close_(std::exchange(id_, -1));
  }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// Text of the library's error stack, the cause last; empties the stack.
std::string error_stack();

/// "<path>: <operation> failed: <library's reason>"
[[noreturn]] void throw_library_error(Errc code, const std::string& file, const std::string& operation);

/// Opens an id or throws.
Handle own(hid_t id, Handle::Close close, Errc code, const std::string& file, const std::string& operation);

/// Access list of every file that is opened for reading, and of creation: format bounds, strong closing, no chunk
/// cache.
Handle make_access_list();

}  // namespace headlight::capture::hdf5

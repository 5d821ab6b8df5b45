#pragma once

#include <optional>

#include "base/error.h"
#include "core/capture_hdf5/part_file.h"

namespace headlight::capture::hdf5 {

/// Remembers the failure of a disk: everything after it is refused with the same words.
class FailureLatch {
 public:
  bool failed() const { return failure_.has_value(); }

  /// Does `work`. When the disk or the library fails, `close` is called and the file abandoned at once, while the
  /// driver still shields the library; other errors pass through.
  /// @param file  may be null
  template <class Work, class Close>
  void guard(const std::unique_ptr<PartFile>& file, const Close& close, const Work& work) {
    if (failure_) throw Error(*failure_);
    try {
      work();
    } catch (const Error& error) {
      if (error.code() != Errc::io && error.code() != Errc::internal) throw;
      failure_ = error;
      try {  // the library may have failed because the disk did: the driver knows the reason
        if (file) file->check_disk();
      } catch (const Error& cause) {
        failure_ = cause;
      }
      close();
      if (file) file->abandon();
      throw Error(*failure_);
    }
  }

 private:
  std::optional<Error> failure_;
};

}  // namespace headlight::capture::hdf5

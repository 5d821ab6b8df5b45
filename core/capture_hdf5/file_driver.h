#pragma once

#include <cstdint>
#include <string>

#include "core/capture_hdf5/hdf5_base.h"

namespace headlight::capture::hdf5 {

/// First failure of a file that is being written. From that moment the driver reports success to the library without
/// touching the file: the disk holds what a crash at that instant would have left, which is recoverable, and the
/// library never enters its error paths, where it loses ids and later crashes. Whoever writes asks after every call.
struct WriteLatch {
  int error = 0;               ///< errno, 0 = all well
  std::uint64_t offset = 0;    ///< where the failing operation began
  std::uint64_t size = 0;      ///< bytes it wanted to write
  const char* operation = "";  ///< "write", "truncate", "sync"
  std::uint64_t bytes_written = 0;
  int open_error = 0;  ///< errno of the last attempt to open a file, 0 = it was opened
};

/// Lets `list` open files through the latching driver. `latch` must outlive the file.
void use_latching_driver(hid_t list, WriteLatch& latch);

/// Fault injection: the `count`-th write from now on fails with `error`, in any file. 0 switches it off.
/// @return  what was left of the count before
std::int64_t inject_write_fault(std::int64_t count, int error);

}  // namespace headlight::capture::hdf5

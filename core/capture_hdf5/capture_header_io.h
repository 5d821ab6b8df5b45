#pragma once

#include <string>

#include "core/capture/capture_sink.h"

namespace headlight::capture::hdf5 {

class PartFile;
class StoredFile;

/// Root attributes, /provenance, /model, /statistics and /manifest of a file that is being defined.
/// @return  the capture's uuid
std::string define_header(PartFile& file, const CaptureHeader& header, const std::string& title);

/// Final root attributes.
void seal_header(PartFile& file, bool complete);

/// What define_header() wrote.
CaptureHeader read_header(const StoredFile& file);

/// Inverse of to_json_text(). @error bad_format
CapturePlan plan_from_json(const std::string& text, int num_heads);

}  // namespace headlight::capture::hdf5

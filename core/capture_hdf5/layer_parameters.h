#pragma once

#include <string>
#include <vector>

#include "core/capture/capture_sink.h"
#include "core/capture_hdf5/part_file.h"
#include "core/capture_hdf5/stored_file.h"

namespace headlight::capture::hdf5 {

/// Arrays of the parameters of the recorded layers in `group` ("/rec/0/replay", "/corpus/layers").
std::vector<ArraySpec> layer_parameter_arrays(const std::string& group, const CaptureHeader& header);

void write_layer_parameters(PartFile& file, const std::string& group, const CaptureHeader& header,
                            const std::vector<LayerParameters>& layers);

/// One entry per recorded layer. @error damaged  missing, another number of layers, or impossible numbers
std::vector<LayerParameters> read_layer_parameters(const StoredFile& file, const std::string& group,
                                                   const CaptureHeader& header);

}  // namespace headlight::capture::hdf5

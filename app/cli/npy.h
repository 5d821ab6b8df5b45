#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace headlight::cli {

/// Writes a float32 array in NumPy's .npy format 1.0 (little-endian, C order); appears under its name when complete.
/// @error output_exists, io
void write_npy(const std::filesystem::path& path, std::span<const float> values, const std::vector<std::int64_t>& shape,
               bool overwrite);

}  // namespace headlight::cli

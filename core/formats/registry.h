#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace headlight::formats {

/// A model that can be fetched by name.
struct RegistryEntry {
  std::string name;  ///< "smollm2-135m"
  std::string title;
  std::string architecture;
  std::filesystem::path file;  ///< relative to the model store
  std::uint64_t bytes = 0;
  std::string sha256;  ///< 64 hex digits, or empty when nobody has checked it
  std::string licence;
  bool supported = true;  ///< false: this build can fetch it, but not run it
};

/// Folder of the data that are shipped with Headlight: $HEADLIGHT_DATA, else ../share/headlight/data beside the
/// program, else data/ of the source tree it was built from.
/// @error not_found
std::filesystem::path data_folder();

/// Where fetched models lie: $HEADLIGHT_MODELS, else $XDG_DATA_HOME/headlight/models, else
/// ~/.local/share/headlight/models. Empty when none of these is set.
std::filesystem::path model_store();

/// Entries of data/registry.json in its order. @error not_found, bad_format
std::vector<RegistryEntry> load_registry();
std::vector<RegistryEntry> load_registry(const std::filesystem::path& file);

}  // namespace headlight::formats

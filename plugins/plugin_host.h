#pragma once

#include <string>
#include <vector>

namespace headlight::plugins {

struct LoadedPlugin {
  std::string path, name, version;
  std::vector<std::string> interventions, analyses;  ///< ids
};

/// Opens a shared library, checks its descriptor (plugins/sdk/headlight_plugin.h) and registers its interventions and
/// analyses beside the built-in ones. It stays loaded until the program ends. Not for several threads; before methods()
/// or analyses() are used.
/// @error not_found, bad_format (no plugin, a descriptor that breaks the rules, an id that is taken), bad_version
/// (built
///        against another interface)
LoadedPlugin load_plugin(const std::string& path);

/// All that were loaded.
const std::vector<LoadedPlugin>& loaded_plugins();

}  // namespace headlight::plugins

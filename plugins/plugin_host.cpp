#include "plugins/plugin_host.h"

#include <filesystem>

#include <dlfcn.h>
#include <fmt/format.h>

#include "analysis/registry.h"
#include "base/error.h"
#include "core/intervention/registry.h"
#include "plugins/plugin_adapter.h"
#include "plugins/sdk/headlight_plugin.h"

namespace headlight::plugins {
namespace {

std::vector<LoadedPlugin>& loaded() {
  static std::vector<LoadedPlugin> list;
  return list;
}

[[noreturn]] void refuse_plugin(const std::string& path, Errc code, const std::string& sentence) {
  throw Error(code, sentence, {.file = path, .field = {}, .offset = {}, .hint = {}});
}

const headlight_plugin& descriptor_of(const std::string& path) {
  if (!std::filesystem::is_regular_file(path)) refuse_plugin(path, Errc::not_found, "does not exist");
  void* library = ::dlopen(std::filesystem::absolute(path).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) refuse_plugin(path, Errc::bad_format, fmt::format("cannot be loaded: {}", ::dlerror()));
  void* const entry = ::dlsym(library, "headlight_plugin_entry");
  if (entry == nullptr)
    refuse_plugin(path, Errc::bad_format, "is no plugin: it has no function headlight_plugin_entry");
  const headlight_plugin* plugin = reinterpret_cast<const headlight_plugin* (*)()>(entry)();
  if (plugin == nullptr) refuse_plugin(path, Errc::bad_format, "is no plugin: it returns no descriptor");
  if (plugin->abi != HEADLIGHT_PLUGIN_ABI)
    refuse_plugin(
        path, Errc::bad_version,
        fmt::format("was built for version {} of the plugin interface, this program has version {}: build it again "
                    "with this program's headlight_plugin.h",
                    plugin->abi, HEADLIGHT_PLUGIN_ABI));
  if (plugin->size != sizeof(headlight_plugin))
    refuse_plugin(path, Errc::bad_version,
                  fmt::format("has a descriptor of {} bytes, expected {}", plugin->size, sizeof(headlight_plugin)));
  return *plugin;
}

}  // namespace

LoadedPlugin load_plugin(const std::string& path) {
  const headlight_plugin& plugin = descriptor_of(path);
  LoadedPlugin out{path, plugin.name, plugin.version, {}, {}};
  try {
    for (std::int32_t n = 0; n < plugin.num_interventions; ++n) {
      intervention::register_method(method_of(plugin.interventions[n]));
      out.interventions.emplace_back(plugin.interventions[n].id);
    }
    for (std::int32_t n = 0; n < plugin.num_analyses; ++n) {
      analysis::register_analysis(analysis_of(plugin.analyses[n]));
      out.analyses.emplace_back(plugin.analyses[n].id);
    }
  } catch (const Error& error) {
    throw error.in_file(path);
  }
  loaded().push_back(out);
  return out;
}

const std::vector<LoadedPlugin>& loaded_plugins() {
  return loaded();
}

}  // namespace headlight::plugins

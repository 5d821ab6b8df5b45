#include "core/formats/registry.h"

#include <cstdlib>

#include "base/json.h"
#include "core/formats/fail.h"

namespace headlight::formats {
namespace {

constexpr std::string_view kSchema = "headlight.registry/1";

std::filesystem::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? std::filesystem::path(value) : std::filesystem::path();
}

RegistryEntry entry_from_json(const Json& json, const std::string& path) {
  RegistryEntry entry;
  entry.name = json_string(json, "name", path);
  entry.title = json_string(json, "title", path);
  entry.architecture = json_string(json, "architecture", path);
  entry.file = json_string(json, "file", path);
  if (entry.file.empty() || entry.file.is_absolute() || entry.file.string().find("..") != std::string::npos)
    bad_format({path + ".file"}, "expected a path inside the model store, found '{}'", entry.file.string());
  const auto bytes = json_integer(json, "bytes", path);
  if (bytes < 0) bad_format({path + ".bytes"}, "expected a size, found {}", bytes);
  entry.bytes = static_cast<std::uint64_t>(bytes);
  entry.sha256 = json_string_or(json, "sha256", "", path);
  entry.licence = json_string(json, "licence", path);
  entry.supported = json_bool_or(json, "supported", true, path);
  return entry;
}

}  // namespace

std::filesystem::path data_folder() {
  if (const auto given = from_environment("HEADLIGHT_DATA"); !given.empty()) return given;
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto installed = program.parent_path().parent_path() / "share" / "headlight" / "data";
  if (!program.empty() && std::filesystem::exists(installed, ignored)) return installed;
  if (std::filesystem::exists(HEADLIGHT_DATA_SOURCE, ignored)) return HEADLIGHT_DATA_SOURCE;
  throw Error(Errc::not_found, "the data folder of Headlight was not found; set HEADLIGHT_DATA",
              {.file = installed.string(), .field = {}, .offset = {}, .hint = {}});
}

std::filesystem::path model_store() {
  if (const auto given = from_environment("HEADLIGHT_MODELS"); !given.empty()) return given;
  if (const auto data = from_environment("XDG_DATA_HOME"); !data.empty()) return data / "headlight" / "models";
  if (const auto home = from_environment("HOME"); !home.empty()) return home / ".local/share/headlight/models";
  return {};
}

std::vector<RegistryEntry> load_registry() {
  return load_registry(data_folder() / "registry.json");
}

std::vector<RegistryEntry> load_registry(const std::filesystem::path& file) {
  const Json json = load_json(file.string());
  try {
    const auto schema = json_string(json, "schema");
    if (schema != kSchema) fail(Errc::bad_version, {"schema"}, "expected '{}', found '{}'", kSchema, schema);
    const Json* models = json_find(json, "models");
    if (!models || !models->is_array()) bad_format({"models"}, "expected an array");
    std::vector<RegistryEntry> entries;
    for (const auto& model : *models)
      entries.push_back(entry_from_json(model, fmt::format("models.{}", entries.size())));
    return entries;
  } catch (const Error& error) {
    throw error.in_file(file.string());
  }
}

}  // namespace headlight::formats

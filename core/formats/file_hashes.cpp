#include <cstdlib>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "core/formats/fail.h"
#include "core/formats/model_file.h"

namespace headlight::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSchema = "headlight.file-hashes/1";
constexpr std::size_t kMaxEntries = 1000;

fs::path cache_file() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache && *cache) return fs::path(cache) / "headlight" / "file-hashes.json";
  const char* home = std::getenv("HOME");
  return home && *home ? fs::path(home) / ".cache" / "headlight" / "file-hashes.json" : fs::path();
}

/// The cache is a convenience: whatever is wrong with it, hashes are computed anew.
Json load_cache(const fs::path& path) {
  try {
    if (!path.empty() && fs::exists(path)) {
      Json json = load_json(path.string());
      if (json_string_or(json, "schema", "") == kSchema && json.contains("files") && json["files"].is_object())
        return json;
    }
  } catch (const std::exception& problem) {
    log_debug(fmt::format("file hashes: {}", problem.what()));
  }
  return Json{{"schema", kSchema}, {"files", Json::object()}};
}

void save_cache(const fs::path& path, const Json& json) {
  if (path.empty()) return;
  try {
    fs::create_directories(path.parent_path());
    OutputFile out(path, true);
    out.write(dump_json(json));
    out.commit();
  } catch (const std::exception& problem) {
    log_debug(fmt::format("file hashes: {}", problem.what()));
  }
}

Json stamp_json(const FileStamp& stamp) {
  return Json::array({stamp.size, stamp.mtime_ns, stamp.inode});
}

}  // namespace

std::vector<std::string> file_hashes(const ModelFile& model) {
  const auto path = cache_file();
  Json cache = load_cache(path);
  bool changed = false;
  std::vector<std::string> hashes;
  for (std::size_t i = 0; i < model.files.size(); ++i) {
    std::error_code ignored;
    const auto absolute = fs::weakly_canonical(model.files[i], ignored).string();
    const Json stamp = stamp_json(model.stamps[i]);
    Json& files = cache["files"];
    const auto known = files.find(absolute);
    if (known != files.end() && known->is_object() && known->value("stamp", Json()) == stamp &&
        known->contains("sha256") && (*known)["sha256"].is_string()) {
      hashes.push_back((*known)["sha256"].get<std::string>());
      continue;
    }
    hashes.push_back(sha256_of_file(model.files[i]));
    if (files.size() >= kMaxEntries) files = Json::object();
    files[absolute] = {{"stamp", stamp}, {"sha256", hashes.back()}};
    changed = true;
  }
  if (changed) save_cache(path, cache);
  return hashes;
}

}  // namespace headlight::formats

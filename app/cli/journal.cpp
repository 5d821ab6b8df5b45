#include "app/cli/journal.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace headlight::cli {
namespace {

constexpr std::string_view kSchema = "headlight.journal/1";
constexpr std::uint64_t kLargestJournal = std::uint64_t{1} << 30;

std::string journal_path(const std::string& output) {
  const std::filesystem::path path(output);
  return (path.parent_path() / ("." + path.filename().string() + ".journal")).string();
}

}  // namespace

Journal::Journal(const std::string& output, const std::string& identity, bool restart) : path_(journal_path(output)) {
  if (!restart) read(identity);
  // Written anew: a torn line or a journal of another run is gone.
  const std::string fresh = path_ + ".new";
  file_.open(fresh, std::ios::trunc);
  file_ << Json{{"schema", kSchema}, {"identity", identity}}.dump() << '\n';
  for (const auto& [key, result] : results_) file_ << Json{{"key", key}, {"result", result}}.dump() << '\n';
  file_.flush();
  if (!file_) throw_io_error(errno, fresh, "writing");
  std::filesystem::rename(fresh, path_);
}

Journal::~Journal() {
  if (results_.empty()) remove();
}

void Journal::read(const std::string& identity) {
  if (!std::filesystem::exists(path_)) return;
  const std::string text = read_text_file(path_, kLargestJournal);
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; begin = end + 1, end = text.find('\n', begin)) {
    try {
      const Json line = parse_json(std::string_view(text).substr(begin, end - begin), {.max_bytes = kLargestJournal});
      if (begin == 0) {
        if (json_string_or(line, "schema", "") != kSchema || json_string_or(line, "identity", "") != identity) return;
        continue;
      }
      results_.insert_or_assign(json_string(line, "key"), line.at("result"));
    } catch (const std::exception&) {
      break;  // torn or damaged: what follows is done again
    }
  }
  num_found_ = results_.size();
}

const Json* Journal::find(const std::string& key) const {
  const auto found = results_.find(key);
  return found == results_.end() ? nullptr : &found->second;
}

const Json& Journal::add(const std::string& key, Json result) {
  file_ << Json{{"key", key}, {"result", result}}.dump() << '\n';
  file_.flush();
  if (!file_) throw_io_error(errno, path_, "writing");
  return results_.insert_or_assign(key, std::move(result)).first->second;
}

void Journal::remove() {
  file_.close();
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace headlight::cli

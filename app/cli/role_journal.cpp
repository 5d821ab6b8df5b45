#include "app/cli/role_journal.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace headlight::cli {
namespace {

constexpr std::string_view kSchema = "headlight.roles-journal/1";
constexpr std::uint64_t kLargestJournal = std::uint64_t{1} << 30;

std::string journal_path(const std::string& output) {
  const std::filesystem::path path(output);
  return (path.parent_path() / ("." + path.filename().string() + ".journal")).string();
}

}  // namespace

RoleJournal::RoleJournal(const std::string& output, const std::string& identity, bool restart)
    : path_(journal_path(output)) {
  if (!restart) read(identity);
  // Written anew: a torn line or a journal of another run is gone.
  const std::string fresh = path_ + ".new";
  file_.open(fresh, std::ios::trunc);
  file_ << Json{{"schema", kSchema}, {"identity", identity}}.dump() << '\n';
  for (const auto& [key, sample] : samples_)
    file_ << Json{{"key", key}, {"sample", analysis::to_json(sample)}}.dump() << '\n';
  file_.flush();
  if (!file_) throw_io_error(errno, fresh, "writing");
  std::filesystem::rename(fresh, path_);
}

void RoleJournal::read(const std::string& identity) {
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
      samples_.insert_or_assign(json_string(line, "key"), analysis::head_sample_from_json(line.at("sample")));
    } catch (const Error&) {
      break;  // torn or damaged: what follows is done again
    }
  }
  num_found_ = samples_.size();
}

const analysis::HeadSample* RoleJournal::find(const std::string& key) const {
  const auto found = samples_.find(key);
  return found == samples_.end() ? nullptr : &found->second;
}

void RoleJournal::add(const std::string& key, analysis::HeadSample sample) {
  file_ << Json{{"key", key}, {"sample", analysis::to_json(sample)}}.dump() << '\n';
  file_.flush();
  if (!file_) throw_io_error(errno, path_, "writing");
  samples_.insert_or_assign(key, std::move(sample));
}

void RoleJournal::remove() {
  file_.close();
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace headlight::cli

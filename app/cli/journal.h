#pragma once

#include <fstream>
#include <map>
#include <string>

#include "base/json.h"

namespace headlight::cli {

/// What was already found out by a run that did not come to its end: one line of JSON for every piece of work, beside
/// the output as `.<name>.journal`. A torn last line is forgotten. A journal of another model, seed or version is not
/// used.
class Journal {
 public:
  /// @param identity  everything that a result depends on besides its key
  /// @param restart   forget what is there
  /// @error io
  Journal(const std::string& output, const std::string& identity, bool restart);
  ~Journal();  ///< an empty journal is removed
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  const Json* find(const std::string& key) const;
  /// Appended and flushed. @error io
  const Json& add(const std::string& key, Json result);
  std::size_t num_found() const { return num_found_; }  ///< results of the earlier run

  void remove();  ///< when the output is written

 private:
  void read(const std::string& identity);

  std::string path_;
  std::map<std::string, Json> results_;
  std::size_t num_found_ = 0;
  std::ofstream file_;
};

}  // namespace headlight::cli

#pragma once

#include <fstream>
#include <map>
#include <string>

#include "analysis/roles/head_samples.h"

namespace headlight::cli {

/// What was already found out by a run of `roles` that did not come to its end: one line of JSON for every input,
/// beside the output as `.<name>.journal`. A torn last line is forgotten. A journal of another model, seed or version
/// is not used.
class RoleJournal {
 public:
  /// @param identity  everything that a sample depends on besides its key
  /// @param restart   forget what is there
  /// @error io
  RoleJournal(const std::string& output, const std::string& identity, bool restart);

  const analysis::HeadSample* find(const std::string& key) const;
  /// Appended and flushed. @error io
  void add(const std::string& key, analysis::HeadSample sample);
  std::size_t num_found() const { return num_found_; }  ///< samples of the earlier run

  void remove();  ///< when the result is written

 private:
  void read(const std::string& identity);

  std::string path_;
  std::map<std::string, analysis::HeadSample> samples_;
  std::size_t num_found_ = 0;
  std::ofstream file_;
};

}  // namespace headlight::cli

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "kernels/row_program.h"

namespace headlight::capture {

/// What interventions did to the rows of one recorded layer: the row programs that ran, with the keys that were found
/// while the prompt ran. With q, k and lse this is all that replay needs. A value: copies share what they point to.
class RowPlan {
 public:
  RowPlan() = default;  ///< nothing was changed
  /// Copies the programs of all heads. @param program_h  [num_heads], or null
  RowPlan(const kernels::RowProgram* program_h, int num_heads);

  bool empty() const { return data_ == nullptr; }
  /// Null = nothing happens to rows of this head.
  const kernels::RowProgram* program(int head) const;

  /// {"heads": [{"heads": [0, 1], "steps": [{"op", "rows": [begin, end or null], "runs": [[begin, end, value]],
  /// "constants": [4], "seed"}]}]}; heads that do the same share an entry, "-inf" masks.
  Json to_json() const;
  /// @error bad_format  anything that a row program must not hold; names the place in `path`
  static RowPlan from_json(const Json& json, int num_heads, const std::string& path);

 private:
  struct Data {
    std::vector<std::vector<kernels::KeyRun>> runs;
    std::vector<std::vector<kernels::RowStep>> steps_h;
    std::vector<kernels::RowProgram> program_h;
  };
  std::shared_ptr<const Data> data_;
};

}  // namespace headlight::capture

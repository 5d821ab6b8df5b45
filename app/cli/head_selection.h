#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/capture/capture_view.h"
#include "core/heads/head_set.h"

namespace CLI {
class App;
}

namespace headlight::cli {

using heads::HeadId;

/// Options of every verb that acts on some heads.
struct HeadOptions {
  std::string heads;     ///< expression; empty = all
  std::string headplan;  ///< file with scores, roles and sets that the expression may name
};
void add_head_options(CLI::App& app, HeadOptions& options, const std::string& help,
                      const std::string& group = "OPTIONS");

/// What an expression may name where only the model is known: ids, `layer`, `head`, and the headplan.
heads::HeadFacts model_head_facts(const heads::HeadGrid& grid, const std::vector<int>& layers,
                                  const std::string& headplan);

/// The same with the statistics of a capture: means over rows, and over the records of a corpus.
heads::HeadFacts capture_head_facts(const capture::CaptureView& view, const std::string& headplan = {});

/// Chosen heads of `layers` (model numbers), [layers.size()][H] 1 = selected.
/// @error invalid_argument  with the column of what is wrong
std::vector<std::uint8_t> select_heads(const HeadOptions& options, const heads::HeadFacts& facts,
                                       const std::vector<int>& layers);

}  // namespace headlight::cli

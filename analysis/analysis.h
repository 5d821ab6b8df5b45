#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/undefined.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "core/capture/capture_view.h"

namespace headlight::analysis {

/// What an analysis takes from its input besides tokens.
enum class Need {
  row,       ///< row statistics
  column,    ///< column statistics
  block,     ///< block maps
  qkv,       ///< q and k of the recorded heads (v too, when the plan stores values): level replay
  hidden,    ///< facts about hidden states, norms of k, v and |W_O v|
  states,    ///< the hidden states themselves: captured with --hidden
  weights,   ///< weights of the model
  run,       ///< runs the model
  gradient,  ///< gradients of the model
};
std::string_view to_string(Need need);

/// A named array. Axes are "layer" (recorded layers), "model_layer" (all layers), "level" (0..L), "head", "kv_head",
/// "query", "key", "plane", "bin", ... in memory order, the last one contiguous; no axes = one number.
struct Series {
  std::string id;       ///< snake_case, unique in its report
  std::string unit;     ///< "1", "nat", "token", ...
  std::string formula;  ///< one line, as in the documentation
  std::vector<std::string> axes;
  std::vector<std::int64_t> shape;
  std::vector<double> values;    ///< NaN = undefined, written as null
  double low = 0.0, high = 1.0;  ///< range by definition; infinity = unbounded
};

/// Rows of named cells: strings, numbers, booleans or null.
struct Table {
  std::string id, title;
  std::vector<std::string> columns;
  std::vector<std::vector<Json>> rows;
};

/// What one analysis says about one record, or about all records of a capture.
struct AnalysisReport {
  std::string id;
  int version = 1;
  Json params;  ///< every parameter with the value that was used
  std::vector<Series> series;
  std::vector<Table> tables;
  std::vector<std::string> notes;  ///< caveats that a reader of the numbers must know, one sentence each
};

/// A parameter of an analysis, declared once: source of help, checks and forms.
struct Parameter {
  std::string_view name;
  Json fallback;            ///< its type is the parameter's: boolean, integer, number, string or array
  double low = -kInfinity;  ///< of a number, or of every number of an array
  double high = kInfinity;
  std::string_view doc;                        ///< one sentence
  std::vector<std::string_view> choices = {};  ///< of a string; empty = any
};

struct AnalysisInput {
  const capture::CaptureView& capture;
  std::int64_t record = 0;
  ThreadPool& pool;
};

/// One analysis: a pure function of a capture. Its numbers come from typed functions declared in headers of their own,
/// with formula, ranges and source; `run` only puts them into a report (id, version and params are filled in for it).
struct Analysis {
  std::string_view id;       ///< kebab-case: "epsilon-sink"
  std::string_view title;    ///< "Attention sinks by the epsilon metric"
  std::string_view summary;  ///< one sentence
  std::string_view source;   ///< title of the paper
  std::vector<Need> needs = {};
  bool by_default = true;  ///< part of the set that `headlight analyze` runs unasked
  std::vector<Parameter> parameters = {};
  std::function<AnalysisReport(const AnalysisInput& input, const Json& params, std::stop_token stop)> run;
  bool over_records = false;  ///< looks at all records of the capture itself: run it once
  int version = 1;
};

/// Every built-in analysis, in the order of the documentation.
const std::vector<Analysis>& analyses();

/// @error invalid_argument  unknown; the sentence names the closest id
const Analysis& require_analysis(std::string_view id);

/// Defaults of the declared parameters, replaced by what `given` holds.
/// @error invalid_argument  unknown name, wrong type or outside the range: names parameter, found and expected
Json resolve_params(const Analysis& analysis, const Json& given);

/// What of `needs` the record does not supply; empty = the analysis can run.
std::vector<Need> missing_needs(const Analysis& analysis, const capture::CaptureView& capture, std::int64_t record);

/// Resolves the parameters, checks the needs and runs.
/// @error invalid_argument  parameters, or "not available: needs qkv, hidden"; cancelled
AnalysisReport run_analysis(const Analysis& analysis, const AnalysisInput& input, const Json& given = Json::object(),
                            std::stop_token stop = {});

/// Mean of each series over the reports of several records (same analysis, same parameters); undefined values are left
/// out. Series that run along the text, series whose shapes differ and tables belong to single records and are left
/// out, which a note says.
AnalysisReport mean_report(const std::vector<AnalysisReport>& reports);

/// {"id","version","params","series":[{"id","unit","formula","axes","shape","range","values"}],"tables","notes"}.
/// "values" is flat, in memory order; null for series of more than `max_values` values.
Json to_json(const AnalysisReport& report, std::size_t max_values = std::numeric_limits<std::size_t>::max());

/// What `analyze --list --json` says of an analysis: id, title, summary, source, needs, default, parameters.
Json to_json(const Analysis& analysis);

}  // namespace headlight::analysis

#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace headlight::analysis {

/// Values of all query heads of a model, [L][H]; NaN = undefined.
using HeadValues = std::vector<double>;

/// What one input of an experiment said about every head. The unit of progress, resumption and resampling.
struct HeadSample {
  std::string group;    ///< what the input has in common with others ("512" tokens): averages are kept per group too
  bool counted = true;  ///< false: seen, but left out of the scores (an answer that was not found)
  std::vector<std::pair<std::string, HeadValues>> scores;  ///< by score id
  Json facts = Json::object();
};
Json to_json(const HeadSample& sample);
/// @error bad_format
HeadSample head_sample_from_json(const Json& json);

/// A score over its samples.
struct ScoreSummary {
  std::string id;
  HeadValues mean, low,
      high;  ///< [L][H] mean, and 95 % interval of it; low and high NaN with fewer than 2 defined samples
  std::int64_t samples = 0;                       ///< that define a head, of the head that most define
  std::map<std::string, HeadValues> group_means;  ///< by HeadSample::group
  double stability = 0;  ///< smallest rank correlation of heads between two groups; NaN with one group
};

/// Mean over counted samples in which the head is defined. The interval holds the middle 95 % of the means of 1000
/// resamples of the samples (the same resamples for every head).
/// @see Bootstrap Methods: Another Look at the Jackknife
ScoreSummary summarize(std::string_view id, std::span<const HeadSample> samples, std::uint64_t seed);

/// spearman() over entries that are defined in both.
double rank_agreement(std::span<const double> a, std::span<const double> b);

/// Indices by value, descending, ties by index, NaN left out.
std::vector<std::size_t> ranking(std::span<const double> values);

/// Per query head to per KV head, [L][G]: the largest of a group (capability: one reader is enough), or the mean
/// (mass).
enum class GroupReduce { max, mean };
HeadValues to_kv_heads(std::span<const double> value_lh, int num_layers, int num_heads, int num_kv_heads,
                       GroupReduce reduce);

}  // namespace headlight::analysis
